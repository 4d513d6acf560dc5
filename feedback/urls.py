"""Addresses of votes, below the API's root."""

from django.urls import path

from .views import FeedbackView

urlpatterns = [path("messages/<id:pk>/feedback", FeedbackView.as_view())]
