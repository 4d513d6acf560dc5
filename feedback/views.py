"""Voting. Stored first; the way upstream begins with the commit."""

from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chatwidget import chat, limits, process
from chatwidget.events import MessageChanged
from chatwidget.models import Message
from chatwidget.problems import Problem
from chatwidget.serializers import FeedbackOut, NewFeedback
from chatwidget.views import VisitorView, problems

from . import alerts, delivery, tallies
from .models import Feedback


class FeedbackView(VisitorView):
    """The visitor's last word on one answer."""

    throttle_classes = [limits.VoteThrottle]

    @extend_schema(
        request=NewFeedback,
        responses={200: FeedbackOut, **problems(404, 409, 422, 429)},
    )
    def put(self, request: Request, pk: UUID) -> Response:
        """Replace the vote, comment and reasons; the same again changes nothing."""
        message = self.rateable(request, pk)
        widget = message.conversation.visitor.widget
        body = NewFeedback(data=request.data, context={"reason_keys": set(widget.reason_labels)})
        body.is_valid(raise_exception=True)
        wanted = body.validated_data
        if wanted["comment"].strip() and not widget.comments_enabled:
            raise Problem("invalid", errors={"comment": ["This widget takes no comments."]})
        return Response(FeedbackOut(store(message, **wanted)).data)

    @extend_schema(responses={204: None, **problems(404, 429)})
    def delete(self, request: Request, pk: UUID) -> Response:
        """Take everything back, also where nothing can be rated any more."""
        message = chat.find_message(self.visitor(request), pk)
        if hasattr(message, "feedback"):
            store(message, vote=None, comment="", reasons=[])
        return Response(status=204)

    def rateable(self, request: Request, pk: UUID) -> Message:
        """Return the visitor's own message. Raises `feedback_not_allowed`."""
        message = chat.find_message(self.visitor(request), pk)
        if not message.rateable:
            raise Problem("feedback_not_allowed", "Only a finished answer can be rated.")
        return message


def store(message: Message, *, vote: str | None, comment: str, reasons: list[str]) -> Feedback:
    """Commit the visitor's last word together with its delivery; the same again is no change."""

    def work() -> tuple[Feedback, MessageChanged | None]:
        feedback, _ = Feedback.objects.get_or_create(message=message)
        feedback = Feedback.objects.select_for_update().get(pk=feedback.pk)
        said = (feedback.vote, feedback.comment, feedback.reasons)
        if feedback.revision and said == (vote, comment, reasons):
            return feedback, None
        vote_changed, comment_changed = feedback.vote != vote, feedback.comment != comment
        feedback.vote, feedback.comment, feedback.reasons = vote, comment, reasons
        feedback.revision += 1
        feedback.updated_at = timezone.now()
        feedback.reopen()
        feedback.save()
        if vote_changed or comment_changed:
            alerts.commented(feedback)
        feedback.message = message
        tallies.vote_changed(feedback)
        feedback.delivery = delivery.schedule(
            feedback, message.conversation.agent, vote_changed=vote_changed
        )
        return feedback, delivery.touch(message.pk)

    feedback, frame = process.commit(work)
    if frame:
        process.publish(message.conversation.visitor_id, frame)
        process.wake(delivery.JOB)
        if alerts.worth_telling(feedback):
            process.wake(alerts.JOB)
    return feedback
