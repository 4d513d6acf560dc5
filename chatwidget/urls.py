"""All addresses of the service."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, register_converter
from django.urls.converters import UUIDConverter

from . import health, views
from .openapi import DocsView, SchemaView

handler400 = "chatwidget.problems.bad_request"
handler404 = "chatwidget.problems.not_found"
handler500 = "chatwidget.problems.failed"


class IdConverter(UUIDConverter):
    """A UUID in any case: some clients write the ones they make in capitals."""

    regex = f"(?i:{UUIDConverter.regex})"


register_converter(IdConverter, "id")  # here, so that other applications' addresses have it too

api: list[URLPattern | URLResolver] = [
    path("widgets/<str:key>", views.WidgetSettings.as_view()),
    path("widgets/<str:key>/sessions", views.Sessions.as_view()),
    path("conversations", views.Conversations.as_view()),
    path("conversations/<id:pk>/read", views.ReadMarks.as_view()),
    path("conversations/<id:pk>/messages", views.Messages.as_view()),
    path("messages/<id:pk>/stop", views.Stop.as_view()),
    path("messages/<id:pk>/retry", views.Retry.as_view()),
    path("attachments", views.Attachments.as_view()),
    path("attachments/<id:pk>", views.AttachmentSelf.as_view()),
    path("visitor", views.VisitorSelf.as_view()),
    path("", include("feedback.urls")),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", DocsView.as_view(url_name="schema"), name="docs"),
]

urlpatterns = [
    path("", views.home, name="home"),
    path("favicon.ico", views.icon),
    path("widget.js", views.widget_script, name="widget-script"),
    path("w/<str:key>/", views.panel, name="panel"),
    path("w/<str:key>/words/", views.words, name="words"),
    path("w/<str:key>/doctor/", views.doctor, name="doctor"),
    path("api/v1/", include(api)),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("workz", health.work),
    path("metrics", health.metrics),
    path("admin/", admin.site.urls),
]
