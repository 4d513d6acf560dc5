"""What a visitor does: ask, stop, retry, read. Stored in one transaction, then handed on.

Called by views, on their threads. Everything raised is a Problem with a code of the protocol.
"""

import uuid
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from . import process
from .claims import next_position
from .models import OPEN, Conversation, Message, Role, Status, Visitor
from .problems import Problem
from .serializers import conversation_frame, message_frame

TITLE_CHARS = 60


def find_message(visitor: Visitor, message_id: uuid.UUID) -> Message:
    """Return the visitor's own message. Raises `not_found` for another's as for none."""
    try:
        return Message.objects.to_show().get(pk=message_id, conversation__visitor=visitor)
    except Message.DoesNotExist:
        raise Problem("not_found") from None


def start_conversation(visitor: Visitor) -> Conversation:
    """Store a new conversation with the widget's agent."""
    conversation = Conversation.objects.create(visitor=visitor, agent_id=visitor.widget.agent_id)
    process.publish(visitor.pk, conversation_frame(conversation))
    return conversation


def ask(
    conversation: Conversation, *, message_id: uuid.UUID, text: str, page: dict[str, Any]
) -> tuple[Message, Message, bool]:
    """Store a question and its pending answer, and have it answered.

    Returns question, answer, and whether they are new: the same id with the same text is the same
    message. Raises `message_id_reused`, `answer_in_progress`, `widget_paused`.
    """
    try:
        with transaction.atomic():
            asked = Message.objects.filter(pk=message_id).first()
            if asked is not None:
                return *_asked_before(asked, conversation, text), False
            question, answer = _store(conversation, message_id, text, page)
    except IntegrityError:
        # Lost a race with the same message, or with another question of this conversation.
        asked = Message.objects.filter(pk=message_id).first()
        if asked is not None:
            return *_asked_before(asked, conversation, text), False
        raise Problem("answer_in_progress") from None
    _hand_on(question, answer)
    return question, answer, True


def _asked_before(asked: Message, conversation: Conversation, text: str) -> tuple[Message, Message]:
    if asked.conversation_id != conversation.pk or asked.role != Role.VISITOR or asked.text != text:
        raise Problem("message_id_reused")
    answer = asked.answers.filter(role=Role.AGENT).order_by("position").first()
    assert answer is not None, "a question is stored together with its answer"
    return _shown(asked), _shown(answer)


def _shown(message: Message) -> Message:
    return Message.objects.to_show().get(pk=message.pk)


def _store(
    conversation: Conversation, message_id: uuid.UUID, text: str, page: dict[str, Any]
) -> tuple[Message, Message]:
    # Locks the conversation's row, so that of two questions at once one sees the other.
    position = next_position(conversation)
    if Message.objects.filter(conversation=conversation, status__in=OPEN).exists():
        raise Problem("answer_in_progress")
    now = timezone.now()
    question = Message.objects.create(
        id=message_id,
        conversation=conversation,
        position=position,
        role=Role.VISITOR,
        text=text,
        page=page,
        created_at=now,
        completed_at=now,
        changed_at=now,
    )
    answer = _new_answer(conversation, question)
    if not conversation.title:
        conversation.title = title_of(text)
        conversation.save(update_fields=["title"])
    return question, answer


def _new_answer(
    conversation: Conversation, question: Message | None, retry_of: Message | None = None
) -> Message:
    now = timezone.now()
    return Message.objects.create(
        conversation=conversation,
        position=next_position(conversation),
        role=Role.AGENT,
        status=Status.PENDING,
        question=question,
        retry_of=retry_of,
        created_at=now,
        changed_at=now,
    )


def _hand_on(*messages: Message) -> None:
    """Publish what was committed, and run the turn of the last one."""
    answer = messages[-1]
    visitor = answer.conversation.visitor_id
    process.publish(visitor, *map(message_frame, messages))
    process.publish(
        visitor, conversation_frame(Conversation.objects.get(pk=answer.conversation_id))
    )
    process.run_turn(answer.pk)


def title_of(text: str) -> str:
    """Return a conversation's title: the start of its first question, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def stop(answer: Message) -> Message:
    """Have an open answer stopped. One that nobody runs ends here; a finished one stays."""
    if not answer.is_open:
        return answer
    now = timezone.now()
    mine = Message.objects.filter(pk=answer.pk, status__in=OPEN)
    ended = mine.filter(lease_until=None).update(
        status=Status.STOPPED, completed_at=now, changed_at=now, stop_requested=True
    )
    if ended:
        Conversation.objects.filter(pk=answer.conversation_id).update(
            updated_at=now, changed_at=now
        )
    else:
        mine.update(stop_requested=True)
        process.stop_turn(answer.pk)
    answer = _shown(answer)
    if ended:
        process.publish(answer.conversation.visitor_id, message_frame(answer))
    return answer


def retry(failed: Message) -> tuple[Message, bool]:
    """Ask a failed or stopped answer's question again. Returns the new answer, and if it is new.

    Raises `retry_not_allowed`, `answer_in_progress`.
    """
    try:
        with transaction.atomic():
            if again := Message.objects.filter(retry_of=failed).first():
                return _shown(again), False
            if failed.role != Role.AGENT or failed.status not in (Status.FAILED, Status.STOPPED):
                raise Problem("retry_not_allowed")
            Conversation.objects.select_for_update().get(pk=failed.conversation_id)
            if Message.objects.filter(
                conversation_id=failed.conversation_id, status__in=OPEN
            ).exists():
                raise Problem("answer_in_progress")
            answer = _new_answer(failed.conversation, failed.question, retry_of=failed)
    except IntegrityError:
        if again := Message.objects.filter(retry_of=failed).first():
            return _shown(again), False
        raise Problem("answer_in_progress") from None
    _hand_on(answer)
    return answer, True


def mark_read(conversation: Conversation) -> None:
    """Nothing in the conversation is unread any more."""
    changed = (
        Conversation.objects.filter(pk=conversation.pk)
        .exclude(unread=0)
        .update(unread=0, changed_at=timezone.now())
    )
    if changed:
        conversation.refresh_from_db()
        process.publish(conversation.visitor_id, conversation_frame(conversation))
