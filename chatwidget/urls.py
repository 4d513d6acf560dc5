"""All addresses of the service."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from . import health, views
from .openapi import DocsView, SchemaView

handler400 = "chatwidget.problems.bad_request"
handler404 = "chatwidget.problems.not_found"
handler500 = "chatwidget.problems.failed"

api: list[URLPattern | URLResolver] = [
    path("widgets/<str:key>", views.WidgetSettings.as_view()),
    path("widgets/<str:key>/sessions", views.Sessions.as_view()),
    path("conversations", views.Conversations.as_view()),
    path("conversations/<uuid:pk>/read", views.ReadMarks.as_view()),
    path("conversations/<uuid:pk>/messages", views.Messages.as_view()),
    path("messages/<uuid:pk>/stop", views.Stop.as_view()),
    path("messages/<uuid:pk>/retry", views.Retry.as_view()),
    path("visitor", views.VisitorSelf.as_view()),
    path("", include("feedback.urls")),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", DocsView.as_view(url_name="schema"), name="docs"),
]

urlpatterns = [
    path("", views.home, name="home"),
    path("widget.js", views.widget_script, name="widget-script"),
    path("w/<str:key>/", views.panel, name="panel"),
    path("api/v1/", include(api)),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("metrics", health.metrics),
    path("admin/", admin.site.urls),
]
