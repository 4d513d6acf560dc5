"""Conversations: their list, their pages, what is unread."""

import base64
from uuid import UUID

import pytest

from chatwidget.models import Conversation, Visitor

from ..cast import add_message
from ..visitor import JSON
from .contract import CheckedVisitor


async def pages(ann: CheckedVisitor, path: str, limit: int) -> list[list[JSON]]:
    """Read page after page until `next` is null."""
    found, before = [], ""
    while True:
        page = await ann.call("GET", f"{path}?limit={limit}{before}")
        found.append(page["results"])
        if page["next"] is None:
            return found
        before = f"&before={page['next']}"


async def test_a_new_conversation_is_empty_and_the_agents(ann: CheckedVisitor) -> None:
    made = await ann.call("POST", "/conversations", expect=201)
    assert (made["title"], made["mode"], made["unread"]) == ("", "agent", 0)
    assert await ann.messages(made["id"]) == []


async def test_conversations_come_newest_first_and_page_by_page(ann: CheckedVisitor) -> None:
    ids = [await ann.conversation() for _ in range(7)]
    found = await pages(ann, "/conversations", limit=3)
    assert [len(page) for page in found] == [3, 3, 1]
    assert [one["id"] for page in found for one in page] == ids[::-1]


async def test_a_full_last_page_has_no_next(ann: CheckedVisitor) -> None:
    for _ in range(4):
        await ann.conversation()
    assert [len(page) for page in await pages(ann, "/conversations", limit=2)] == [2, 2]


async def test_conversations_of_one_moment_are_neither_lost_nor_doubled(
    ann: CheckedVisitor,
) -> None:
    ids = {await ann.conversation() for _ in range(5)}
    same = Conversation.objects.filter(visitor=ann.id)
    same.update(created_at=same.values_list("created_at", flat=True)[0])
    found = [one["id"] for page in await pages(ann, "/conversations", 2) for one in page]
    assert len(found) == 5
    assert set(found) == ids


async def test_fifty_by_default_and_at_most_a_hundred(ann: CheckedVisitor) -> None:
    agent = Visitor.objects.get(pk=ann.id).widget.agent
    Conversation.objects.bulk_create(
        Conversation(visitor_id=ann.id, agent=agent) for _ in range(101)
    )
    assert len((await ann.call("GET", "/conversations"))["results"]) == 50
    page = await ann.call("GET", "/conversations?limit=100")
    assert len(page["results"]) == 100
    assert page["next"]


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


BAD_LIMITS = ["0", "-1", "101", "1e2", "ten", "1.5", "%20", "000000001999", "１０", "9" * 5000]
BAD_CURSORS = [
    "x",
    "ü",
    "%00",
    cursor("2026-01-01T00:00:00+00:00"),
    cursor(f"now {UUID(int=1)}"),
    cursor("2026-01-01T00:00:00+00:00 5"),
    cursor(f"0001-01-01T00:00:00+23:59 {UUID(int=1)}"),
    cursor(f"9999-12-31T23:59:59-23:59 {UUID(int=1)}"),
]


@pytest.mark.parametrize("limit", BAD_LIMITS)
async def test_a_bad_limit_is_invalid(ann: CheckedVisitor, limit: str) -> None:
    for path in ("/conversations", f"/conversations/{await ann.conversation()}/messages"):
        refused = await ann.call("GET", f"{path}?limit={limit}", expect=422)
        assert (refused["code"], list(refused["errors"])) == ("invalid", ["limit"])


@pytest.mark.parametrize("before", BAD_CURSORS)
async def test_a_bad_cursor_is_invalid(ann: CheckedVisitor, before: str) -> None:
    for path in ("/conversations", f"/conversations/{await ann.conversation()}/messages"):
        refused = await ann.call("GET", f"{path}?before={before}", expect=422)
        assert (refused["code"], list(refused["errors"])) == ("invalid", ["before"])


async def test_messages_page_backwards_each_page_ascending(ann: CheckedVisitor) -> None:
    conversation = await ann.conversation()
    stored = Conversation.objects.get(pk=conversation)
    for number in range(7):
        add_message(stored, f"{number}")
    found = await pages(ann, f"/conversations/{conversation}/messages", limit=3)
    assert [[one["text"] for one in page] for page in found] == [
        ["4", "5", "6"],
        ["1", "2", "3"],
        ["0"],
    ]


async def test_an_answer_is_unread_until_it_is_read(ann: CheckedVisitor) -> None:
    answer = await ann.ask_and_wait("Hello")
    listed = (await ann.call("GET", "/conversations"))["results"]
    assert [one["unread"] for one in listed] == [1]
    await ann.call("POST", f"/conversations/{answer['conversation']}/read", expect=204)
    await ann.call("POST", f"/conversations/{answer['conversation']}/read", expect=204)
    listed = (await ann.call("GET", "/conversations"))["results"]
    assert [one["unread"] for one in listed] == [0]


async def test_the_first_question_gives_the_title(ann: CheckedVisitor) -> None:
    await ann.ask_and_wait("  How do\n I return a bike?  ")
    listed = (await ann.call("GET", "/conversations"))["results"]
    assert [one["title"] for one in listed] == ["How do I return a bike?"]
