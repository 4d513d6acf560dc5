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

from chatwidget.models import Conversation, Message
from chatwidget.prepared import Prepared

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
