"""What a visitor does: attach, ask, stop, retry, read. Stored in one transaction, then handed on.

Called by views, on their threads. Everything raised is a Problem with a code of the protocol.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import DatabaseError, IntegrityError
from django.utils import timezone

from . import attachments, logs, process
from .admission import Outlook, is_free, outlook
from .claims import Claimed, lease, leased, locked
from .errors import TimedOut
from .models import Attachment, Conversation, Message, Role, Status, Visitor
from .prepared import Insert, Update
from .problems import Problem
from .serializers import conversation_frame, message_frame

TITLE_CHARS = 60
NO_FILES = "One of these files is not there any more, or cannot be given in this chat."

_insert = Insert(Message)
_grow = Update(Conversation, "last_position", "title", "updated_at", "changed_at")


def paused() -> Problem:
    """Return what stands against anything new while the operator has paused the widget."""
    return Problem("widget_paused", "This chat is paused. Please come back later.")


def find_message(visitor: Visitor, message_id: uuid.UUID) -> Message:
    """Return the visitor's own message. Raises `not_found` for another's as for none."""
    try:
        return Message.objects.to_show().get(pk=message_id, conversation__visitor=visitor)
    except Message.DoesNotExist:
        raise Problem("not_found") from None


def start_conversation(visitor: Visitor) -> Conversation:
    """Store a new conversation with the widget's agent."""
    conversation = Conversation(visitor=visitor, agent_id=visitor.widget.agent_id)
    process.commit(partial(conversation.save, force_insert=True))
    process.publish(visitor.pk, conversation_frame(conversation))
    return conversation


def attach(visitor: Visitor, name: str, content: bytes) -> Attachment:
    """Store a file that a question can come with. Raises as `attachments.new`."""
    attachment = attachments.new(visitor, name, content)
    process.commit(partial(attachment.save, force_insert=True))
    return attachment


def detach(visitor: Visitor, attachment: uuid.UUID) -> None:
    """Forget a file that was not sent. Raises `not_found`."""
    mine = Attachment.objects.filter(pk=attachment, visitor=visitor, question=None)
    deleted, _ = process.commit(mine.delete)
    if not deleted:
        raise Problem("not_found")


def ask(
    conversation: Conversation,
    *,
    message_id: uuid.UUID,
    text: str,
    page: dict[str, Any],
    files: Sequence[uuid.UUID] = (),
) -> tuple[Message, Message, bool]:
    """Store a question and its pending answer, and have it answered.

    Returns question, answer, and whether they are new: the same id with the same text and files is
    the same message. Raises `invalid`, `message_id_reused`, `answer_in_progress`, `rate_limited`,
    `widget_paused`.
    """
    question = Message(id=message_id, role=Role.VISITOR, text=text, page=page)
    answer = _new_answer(conversation, question)
    problem = _store(conversation, question, answer, title=title_of(text), files=files)
    if problem is None:
        return question, answer, True
    # Unless it is the same message again: its first answer was lost on the way.
    asked = Message.objects.filter(pk=message_id).first()
    if asked is None:
        raise problem
    return *_asked_before(asked, conversation, text, files), False


def _too_busy(conversation: Conversation, found: Outlook) -> Problem | None:
    """Return why nothing more can be asked now, and when it can."""
    match found.whom:
        case "":
            return None
        case _ if Message.objects.open().filter(conversation=conversation).exists():
            return Problem("answer_in_progress")
        case "visitor":
            words = "Your other questions are still being answered."
            return Problem("rate_limited", words, retry_after_s=found.wait_s)
        case _:
            words = "Many people are asking right now. Please ask again in a moment."
            return Problem("rate_limited", words, retry_after_s=found.wait_s, reason="busy")


def _asked_before(
    asked: Message, conversation: Conversation, text: str, files: Sequence[uuid.UUID]
) -> tuple[Message, Message]:
    same = (conversation.pk, Role.VISITOR, text, [str(file) for file in files])
    given = [one["id"] for one in asked.attachments]
    if (asked.conversation_id, asked.role, asked.text, given) != same:
        raise Problem("message_id_reused")
    answer = asked.answers.filter(role=Role.AGENT).order_by("position").first()
    assert answer is not None, "a question is stored together with its answer"
    return _shown(asked), _shown(answer)


def _shown(message: Message) -> Message:
    return Message.objects.to_show().get(pk=message.pk)


def _new_answer(
    conversation: Conversation, question: Message | None, retry_of: Message | None = None
) -> Message:
    return Message(
        agent_id=conversation.agent_id,
        widget_id=conversation.visitor.widget_id,
        visitor_id=conversation.visitor_id,
        role=Role.AGENT,
        status=Status.PENDING,
        question=question,
        retry_of=retry_of,
        request_id=logs.request_id.get(),
    )


def _store(
    conversation: Conversation,
    *messages: Message,
    title: str = "",
    files: Sequence[uuid.UUID] = (),
) -> Problem | None:
    """Store messages at the conversation's end, tell of them, and run the last one's turn.

    The first one has the `files`. Returns what stands against it, which also means that an id is
    taken; then nothing is stored. Where nobody waits, the turn is claimed as it is stored.
    """
    answer, agent = messages[-1], conversation.agent_id

    def work() -> Conversation | Problem:
        if conversation.visitor.widget.paused:
            return paused()
        found = outlook(conversation)
        if problem := _too_busy(conversation, found):
            return problem  # not raised: that would undo the writes of others, too
        if files:
            given = attachments.unsent(conversation.visitor_id, files)
            if given is None or not attachments.takes(conversation.agent):
                return Problem("invalid", errors={"attachments": [NO_FILES]})
            messages[0].attachments = [attachments.as_json(file) for file in given]
        fresh = locked.first(conversation.pk)
        if fresh is None:
            return Problem("not_found")  # erased meanwhile
        now = timezone.now()
        for message in messages:
            fresh.last_position += 1
            message.conversation, message.position = conversation, fresh.last_position
            message.created_at = message.changed_at = now
            if message.role == Role.VISITOR:
                message.completed_at = now
        answer.lease_token = answer.lease_until = None
        if found.at_once and has_place:
            lease(answer)
        _insert(*messages)
        if files:
            Attachment.objects.filter(pk__in=files).update(question=messages[0])
        fresh.title = fresh.title or title
        fresh.updated_at = fresh.changed_at = now
        _grow.save(fresh)
        return fresh

    has_place = process.take_place(agent)
    fresh: Conversation | Problem = Problem("answer_in_progress")
    try:
        with suppress(IntegrityError):
            fresh = process.commit(work)
    finally:
        if has_place and (isinstance(fresh, Problem) or not answer.lease_token):
            process.leave_place(agent)
    if isinstance(fresh, Problem):
        return fresh
    process.publish(
        conversation.visitor_id, *map(message_frame, messages), conversation_frame(fresh)
    )
    process.run_turn(answer, _turn_of(answer, fresh, conversation))
    return None


def _turn_of(answer: Message, stored: Conversation, known: Conversation) -> Claimed | None:
    """Return what the turn needs, as far as it is ours and can be told without reading it again."""
    if not answer.lease_token:
        return None
    stored.visitor, stored.agent = known.visitor, known.agent
    try:
        return leased(answer, stored)
    except DatabaseError:  # whoever runs it reads it
        return None


def title_of(text: str) -> str:
    """Return a conversation's title: the start of its first question, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def stop(answer: Message) -> Message:
    """Have an open answer stopped. One that nobody runs ends here; a finished one stays."""
    if not answer.is_open:
        return answer

    def work() -> int:
        now = timezone.now()
        locked.first(answer.conversation_id)  # before its messages, as everybody does
        mine = Message.objects.open().filter(pk=answer.pk)
        ended = mine.filter(is_free()).update(
            status=Status.STOPPED, completed_at=now, changed_at=now, stop_requested=True
        )
        if ended:
            conversation = Conversation.objects.filter(pk=answer.conversation_id)
            conversation.update(updated_at=now, changed_at=now)
        else:
            mine.update(stop_requested=True)
        return ended

    ended = process.commit(work)
    if not ended:
        process.stop_turn(answer.pk)
    answer = _shown(answer)
    if ended:
        process.publish(answer.conversation.visitor_id, message_frame(answer))
    return answer


def retry(failed: Message) -> tuple[Message, bool]:
    """Ask a failed or stopped answer's question again. Returns the new answer, and if it is new.

    Raises `retry_not_allowed`, `answer_in_progress`, `rate_limited`, `widget_paused`.
    """
    conversation = failed.conversation
    if again := Message.objects.filter(retry_of=failed).first():
        return _shown(again), False
    if failed.role != Role.AGENT or failed.status not in (Status.FAILED, Status.STOPPED):
        raise Problem("retry_not_allowed")
    answer = _new_answer(conversation, failed.question, retry_of=failed)
    if failed.error == TimedOut.code and not failed.upstream_id:
        answer.upstream = failed.upstream  # it may have come since
    if problem := _store(conversation, answer):
        if again := Message.objects.filter(retry_of=failed).first():
            return _shown(again), False
        raise problem
    return answer, True


def mark_read(conversation: Conversation) -> None:
    """Nothing in the conversation is unread any more."""
    unread = Conversation.objects.filter(pk=conversation.pk).exclude(unread=0)
    if process.commit(lambda: unread.update(unread=0, changed_at=timezone.now())):
        conversation.refresh_from_db()
        process.publish(conversation.visitor_id, conversation_frame(conversation))
