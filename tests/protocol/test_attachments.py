"""Files that visitors give: taken with limits and plain refusals, sent once, and let go."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from django.utils import timezone

from chatwidget import attachments
from chatwidget.erasure import erase_visitor
from chatwidget.models import Attachment, Widget
from chatwidget.models import Visitor as StoredVisitor

from ..cast import make_agent, make_conversation, make_visitor, make_widget
from ..server import Server
from .contract import CheckedVisitor, Contract

PICTURE = b"\x89PNG\r\n\x1a\n" + b"x" * 2_000_000
LARGEST = 10 * 1024 * 1024


@pytest.fixture
def widget() -> Widget:
    agent = make_agent(options={"think_s": 0, "words_per_s": 10_000})
    return make_widget(agent, attachments_enabled=True)


@pytest.fixture
async def ada(server: Server, contract: Contract) -> AsyncIterator[CheckedVisitor]:
    """A visitor where no files are wanted."""
    async with CheckedVisitor(server.url, make_widget().key, contract) as visitor:
        yield visitor


async def test_a_file_is_given_and_comes_with_its_question(ann: CheckedVisitor) -> None:
    file = await ann.attach("Bill (2).PNG", PICTURE)
    assert file == {
        "id": file["id"],
        "name": "Bill (2).PNG",
        "content_type": "image/png",
        "size": len(PICTURE),
    }
    conversation = await ann.conversation()
    async with ann.socket(conversation) as socket:
        asked = await ann.ask(conversation, "What is this?", attachments=[file["id"]])
        answer = await socket.final(asked["answer"])
    assert asked["question"]["attachments"] == [file]
    assert asked["answer"]["attachments"] == []
    assert "`Bill (2).PNG`, 2,000,008 bytes" in answer["text"]
    assert (await ann.messages(conversation))[0]["attachments"] == [file]


async def test_the_same_question_with_the_same_files_is_the_same(ann: CheckedVisitor) -> None:
    one, two = [(await ann.attach(name, b"text"))["id"] for name in ("one.txt", "two.txt")]
    conversation, message = await ann.conversation(), str(uuid.uuid4())
    first = await ann.ask(conversation, "Hi", id=message, attachments=[one, two, one])
    again = await ann.ask(conversation, "Hi", id=message, attachments=[one, two], expect=200)
    assert again["question"] == first["question"]
    for others in ([one], [two, one], [], [one, two, str(uuid.uuid4())]):
        refused = await ann.ask(conversation, "Hi", id=message, attachments=others, expect=409)
        assert refused["code"] == "message_id_reused"


async def test_a_file_is_sent_once_and_only_by_whose_it_is(
    ann: CheckedVisitor, bob: CheckedVisitor
) -> None:
    file = (await ann.attach("one.txt", b"text"))["id"]
    for visitor, wanted in (
        (bob, [file]),
        (ann, [str(uuid.uuid4())]),
        (ann, [file, str(uuid.uuid4())]),
        (ann, ["x"]),
        (ann, [file, 7]),
        (ann, [{"url": "x"}]),
        (ann, "x"),
        (ann, [str(uuid.uuid4()) for _ in range(6)]),
    ):
        refused = await visitor.ask(
            await visitor.conversation(), "Hi", attachments=wanted, expect=422
        )
        assert all(field.startswith("attachments") for field in refused["errors"])
    await bob.call("DELETE", f"/attachments/{file}", expect=404)
    await ann.ask(await ann.conversation(), "Hi", attachments=[file])
    refused = await ann.ask(await ann.conversation(), "Hi", attachments=[file], expect=422)
    assert list(refused["errors"]) == ["attachments"]
    await ann.call("DELETE", f"/attachments/{file}", expect=404)


async def test_a_file_can_be_taken_back(ann: CheckedVisitor) -> None:
    file = (await ann.attach("one.txt", b"text"))["id"]
    await ann.call("DELETE", f"/attachments/{file}", expect=204)
    await ann.call("DELETE", f"/attachments/{file}", expect=404)
    await ann.ask(await ann.conversation(), "Hi", attachments=[file], expect=422)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("", "name"),
        ("photo", "name"),
        (".png", "name"),
        ("page.html", "name"),
        ("drawing.svg", "name"),
        ("setup.exe", "name"),
        ("photo\u202egnp.exe", "name"),
        ("photo.png ", None),
        ("../../etc/photo.png", None),
        ("C:\\photo.png", None),
        ("a\x00b\x1b[31m\u202e.png", None),
        ("n" * 500 + ".png", None),
    ],
)
async def test_only_files_of_known_types_are_taken_by_a_plain_name(
    ann: CheckedVisitor, name: str, field: str | None
) -> None:
    if field:
        refused = await ann.attach(name, PICTURE, expect=422)
        assert list(refused["errors"]) == [field]
    else:
        taken = await ann.attach(name, PICTURE)
        assert taken["content_type"] == "image/png"
        assert taken["name"].isprintable()
        assert not set(taken["name"]) & set("/\\")
        assert len(taken["name"]) <= 120
        assert taken["name"].endswith(".png")


async def test_an_empty_file_is_refused(ann: CheckedVisitor) -> None:
    refused = await ann.attach("one.txt", b"", expect=422)
    assert refused["errors"] == {"file": ["This file is empty."]}


async def test_a_file_may_have_ten_mebibytes_and_no_more(ann: CheckedVisitor) -> None:
    assert (await ann.attach("one.pdf", b"x" * LARGEST))["size"] == LARGEST
    refused = await ann.attach("one.pdf", b"x" * (LARGEST + 1), expect=413)
    assert (refused["code"], refused["detail"]) == ("payload_too_large", "At most 10240 KiB.")


async def test_a_widget_without_files_takes_none(ada: CheckedVisitor) -> None:
    refused = await ada.attach("one.txt", b"text", expect=422)
    assert refused["errors"] == {"file": ["No files can be given in this chat."]}


@pytest.mark.parametrize(
    ("provider", "enabled", "offered"),
    [("demo", True, True), ("demo", False, False), ("openai", True, False)],
)
async def test_the_settings_tell_whether_files_can_be_given(
    server: Server, contract: Contract, provider: str, enabled: bool, offered: bool
) -> None:
    widget = make_widget(make_agent(provider=provider), attachments_enabled=enabled)
    async with CheckedVisitor(server.url, widget.key, contract) as visitor:
        told = (await visitor.call("GET", f"/widgets/{widget.key}"))["attachments"]
    if offered:
        assert (told["max_bytes"], told["max_count"]) == (LARGEST, 5)
        assert {"pdf", "png"} <= set(told["types"])
    else:
        assert told is None


async def test_a_file_needs_a_token(ann: CheckedVisitor) -> None:
    del ann.http.headers["Authorization"]
    assert (await ann.attach("one.txt", b"text", expect=401))["code"] == "token_invalid"


async def test_too_many_files_are_told_when_to_come_back(
    contract: Contract, widget: Widget
) -> None:
    with Server(RATE_LIMITS="on") as server:
        async with CheckedVisitor(server.url, widget.key, contract) as visitor:
            for _ in range(20):
                await visitor.attach("one.txt", b"text")
            refused = await visitor.attach("one.txt", b"text", expect=429)
    assert refused["code"] == "rate_limited"
    assert 0 < refused["retry_after"] <= 30


async def test_a_store_that_is_full_takes_no_more_files(contract: Contract, widget: Widget) -> None:
    with Server(ATTACHMENTS_MAX_MB="0") as server:
        async with CheckedVisitor(server.url, widget.key, contract) as visitor:
            refused = await visitor.attach("one.txt", b"text", expect=429)
    assert (refused["code"], refused["reason"]) == ("rate_limited", "busy")


def given(visitor: StoredVisitor, *, hours: float) -> Attachment:
    return Attachment.objects.create(
        visitor=visitor,
        name="one.txt",
        content_type="text/plain",
        size=4,
        content=b"text",
        created_at=timezone.now() - timedelta(hours=hours),
    )


def test_bytes_are_let_go_and_unsent_files_forgotten(widget: Widget) -> None:
    visitor = make_visitor(widget)
    conversation = make_conversation([("visitor", "Hi")], visitor=visitor)
    sent, sent_long_ago = given(visitor, hours=23), given(visitor, hours=25)
    for one in (sent, sent_long_ago):
        Attachment.objects.filter(pk=one.pk).update(question=conversation.messages.get())
    unsent, forgotten = given(visitor, hours=0.9), given(visitor, hours=1.1)
    attachments.let_go()
    left = Attachment.objects.filter(visitor=visitor)
    assert {one.pk: bytes(one.content or b"gone") for one in left} == {
        sent.pk: b"text",
        unsent.pk: b"text",
        sent_long_ago.pk: b"gone",
    }
    assert forgotten.pk not in left.values_list("pk", flat=True)


def test_whoever_is_erased_leaves_no_file(widget: Widget) -> None:
    visitor = make_visitor(widget)
    given(visitor, hours=0)
    erase_visitor(visitor)
    assert not Attachment.objects.filter(visitor=visitor.pk).exists()
