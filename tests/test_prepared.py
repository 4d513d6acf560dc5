"""Prepared queries: written once, they find what the query itself finds."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chatwidget.models import Conversation, Message, Role
from chatwidget.prepared import Insert, Prepared, Update

from .cast import make_conversation


def of_conversation(conversation: uuid.UUID, role: str, before: datetime) -> QuerySet[Message]:
    found = Message.objects.select_related("conversation__visitor__widget").defer("page")
    found = found.filter(conversation=conversation, role=role, created_at__lt=before)
    return found.order_by("-position")[:2]


def texts_of(conversation: uuid.UUID) -> QuerySet[Message, tuple[Any, ...]]:
    return Message.objects.filter(conversation=conversation).values_list("text", "citations")


def everything(found: list[Message]) -> list[dict[str, Any]]:
    """All that is loaded of messages and what they are joined with."""
    return [
        {name: value for name, value in vars(row).items() if name != "_state"}
        for one in found
        for row in (
            one,
            one.conversation,
            one.conversation.visitor,
            one.conversation.visitor.widget,
        )
    ]


def test_a_prepared_query_finds_what_the_query_finds() -> None:
    talks = [("visitor", "One?"), ("agent", "Yes."), ("visitor", "Two?"), ("visitor", "Three?")]
    first, second = make_conversation(talks, title="A"), make_conversation(talks[2:], title="B")
    soon, ago = timezone.now() + timedelta(seconds=9), timezone.now() - timedelta(days=9)
    prepared = Prepared(of_conversation)
    for values in [
        (first.pk, "visitor", soon),
        (second.pk, "visitor", soon),
        (first.pk, "agent", soon),
        (first.pk, "visitor", ago),
        (uuid.uuid4(), "visitor", soon),
    ]:
        with CaptureQueriesContext(connection) as asked:
            found = everything(prepared(*values))
        assert len(asked) == 1
        assert found == everything(list(of_conversation(*values)))
    assert [one.text for one in prepared(first.pk, "visitor", soon)] == ["Three?", "Two?"]
    assert prepared.first(first.pk, "agent", ago) is None


def test_a_prepared_querys_rows_may_be_tuples() -> None:
    first, second = make_conversation([("visitor", "One?")]), make_conversation()
    prepared = Prepared(texts_of)
    assert prepared(first.pk) == [("One?", [])]
    assert prepared(second.pk) == []


def test_a_prepared_query_is_anybodys_at_the_same_time() -> None:
    made = [make_conversation(title=f"{number}") for number in range(20)]
    prepared = Prepared(lambda pk: Conversation.objects.filter(pk=pk))

    def title(one: Conversation) -> str:
        try:
            return str(prepared(one.pk)[0].title)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(title, made * 5)) == [one.title for one in made * 5]


def test_a_prepared_query_takes_as_many_ids_as_there_are() -> None:
    made = [make_conversation() for _ in range(5)]
    prepared = Prepared(lambda *ids: Conversation.objects.filter(pk__in=ids))
    for some in (made, made[:2], made[1:], made[:1], made[3:]):
        assert {one.pk for one in prepared(*(one.pk for one in some))} == {one.pk for one in some}


def test_a_deferred_field_is_read_when_it_is_wanted() -> None:
    conversation = make_conversation([("visitor", "One?")])
    (message,) = Prepared(of_conversation)(conversation.pk, "visitor", timezone.now())
    assert message.page == {}


def test_a_value_that_no_query_holds_is_refused() -> None:
    with pytest.raises(TypeError, match="takes no list"):
        Prepared(lambda ids: Message.objects.filter(pk__in=ids))([uuid.uuid4()])
    with pytest.raises(AssertionError, match="not used"):
        Prepared(lambda pk: Message.objects.all())(uuid.uuid4())


def test_rows_that_are_neither_objects_nor_tuples_are_refused() -> None:
    with pytest.raises(TypeError, match="objects or tuples"):
        Prepared(lambda pk: Message.objects.filter(pk=pk).values("text"))(uuid.uuid4())


TELL = Update(
    Message,
    *("text", "citations", "completed_at"),
    clears=("sent_at",),
    where=("id", "role"),
    also="seq < 5",
)


def test_an_update_changes_what_its_conditions_hold_for_and_nothing_else() -> None:
    conversation = make_conversation([("visitor", "One?"), ("agent", "Yes.")])
    Message.objects.update(sent_at=timezone.now())
    question, answer = conversation.messages.all()
    now, sources = timezone.now(), [{"title": "Ü", "url": ""}]
    told = {"text": "No.", "citations": sources, "completed_at": now, "role": Role.AGENT}
    assert TELL(**told, id=question.pk) == 0
    assert TELL(**told, id=answer.pk) == 1
    answer.refresh_from_db()
    assert (answer.text, answer.citations, answer.completed_at) == ("No.", sources, now)
    assert [one.sent_at is None for one in conversation.messages.all()] == [False, True]
    assert [one.text for one in conversation.messages.all()] == ["One?", "No."]
    Message.objects.filter(pk=answer.pk).update(seq=5)
    assert TELL(**told, id=answer.pk) == 0


def test_an_update_may_take_its_values_from_an_object() -> None:
    conversation = make_conversation([("visitor", "One?"), ("agent", "Yes.")])
    question, answer = conversation.messages.all()
    answer.text, answer.citations = "No.", [{"title": "A", "url": ""}]
    answer.page = {"url": "https://shop.example/"}  # which it does not set
    assert TELL.save(answer) == 1
    stored = Message.objects.get(pk=answer.pk)
    assert (stored.text, stored.citations, stored.page) == ("No.", answer.citations, {})
    assert Message.objects.get(pk=question.pk).text == "One?"


def test_an_update_may_be_of_many_rows_each_with_its_values() -> None:
    conversation = make_conversation([("agent", "A"), ("agent", "B"), ("agent", "C")])
    rest = {"citations": [], "completed_at": timezone.now(), "role": Role.AGENT}
    first, _, third = conversation.messages.all()
    TELL.each({"text": f"{one.text}!", "id": one.pk, **rest} for one in (first, third))
    assert [one.text for one in conversation.messages.all()] == ["A!", "B", "C!"]


def test_an_update_may_be_of_all_rows_among_some_keys() -> None:
    conversation = make_conversation([("agent", "A"), ("agent", "B"), ("agent", "C")])
    first, _, third = conversation.messages.all()
    change = Update(Message, "text", where=("role", "id"), also="seq < 5")
    assert change.among([first.pk, third.pk], text="!", role=Role.AGENT) == 2
    assert [one.text for one in conversation.messages.all()] == ["!", "B", "!"]
    assert change.among([first.pk, third.pk], text="?", role=Role.VISITOR) == 0


def test_an_update_without_one_of_its_values_is_refused() -> None:
    with pytest.raises(AssertionError, match="all values"):
        TELL(text="No.", id=uuid.uuid4())


def test_an_insert_stores_what_saving_would() -> None:
    saved, inserted = make_conversation(title="A"), make_conversation(title="A")
    page = {"url": "https://shop.example/", "title": "\N{SNOWMAN}"}

    def pair(conversation: Conversation) -> list[Message]:
        question = Message(
            conversation=conversation, position=1, role=Role.VISITOR, text="?", page=page
        )
        question.completed_at = question.created_at
        answer = Message(conversation=conversation, position=2, role=Role.AGENT, status="pending")
        answer.question = question
        return [question, answer]

    for one in pair(saved):
        one.save()
    made = pair(inserted)
    Insert(Message)(*made)
    own = {"id", "conversation_id", "question_id", "created_at", "changed_at", "completed_at"}

    def columns(conversation: Conversation) -> list[dict[str, Any]]:
        rows: Any = conversation.messages.order_by("position").values()
        return [{name: row[name] for name in row if name not in own} for row in rows]

    assert columns(inserted) == columns(saved)
    assert inserted.messages.get(position=2).question == made[0]
    made[0].text = "??"
    made[0].save()  # it knows that it is stored
    assert inserted.messages.get(position=1).text == "??"
