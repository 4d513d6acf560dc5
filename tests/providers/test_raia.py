"""raia: a turn in its order, people who step in, and never a second send."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.utils import timezone

from chatwidget.models import Attachment, Conversation, Widget
from chatwidget.models import Visitor as StoredVisitor
from chatwidget.providers.raia import clean

from ..cast import make_widget
from ..feedback.conftest import raia_agent
from ..server import Server
from ..simulators.base import Received
from ..simulators.faults import Drop, DropAfter, Fault, Html, RateLimited, Stall, Status
from ..simulators.raia import RaiaSimulator
from ..simulators.raia_ledger import Failure, Reply
from ..visitor import JSON, Socket, Visitor
from ..waiting import eventually
from .asking import ask, ask_again, completed, failure, row

TURN = ["search_user", "create_user", "create_conversation", "send", "poll"]


UNKNOWN = pytest.mark.parametrize("unknown", [404, 400, 500])
"""What raia says of an id that is not there: documented for a few operations only."""


@pytest.fixture
def widget(raia: RaiaSimulator) -> Widget:
    raia.ripening = 0
    return make_widget(raia_agent(raia, total_s=10, idle_s=3))


def operations(raia: RaiaSimulator) -> list[str]:
    """What was asked about turns; the looks after people that follow an answer are left out."""
    follow = {"get_conversation", "list_messages"}
    return [one.operation for one in raia.requests if one.operation not in follow]


# --- a turn ---------------------------------------------------------------------------------------


async def test_a_first_turn_makes_user_and_conversation_then_sends_and_polls(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Are you open?")
    assert answer["status"] == "completed"
    assert "> Are you open?" in answer["text"]
    assert operations(raia) == TURN
    assert raia.calls("create_user")[0].json["fkId"] == visitor.id
    assert raia.calls("create_conversation")[0].json["title"] == "Are you open?"
    assert raia.calls("send")[0].json == {"message": "Are you open?"}
    assert all(one.headers["Agent-Secret-Key"] == raia.key for one in raia.requests)


async def test_a_second_turn_uses_the_same_user_and_conversation(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("First")
        await ask_again(visitor, first["conversation"], "Second")
        await visitor.ask_and_wait("In another conversation")
    assert operations(raia) == [*TURN, "send", "poll", "create_conversation", "send", "poll"]
    assert len(raia.users) == 1


async def test_a_user_that_raia_knows_is_found(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        raia.add_user({"fkId": visitor.id, "firstName": "A", "lastName": "B"})
        assert (await visitor.ask_and_wait("Hello"))["status"] == "completed"
    assert raia.calls("create_user") == []


async def test_two_first_messages_at_once_share_one_user(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    together = asyncio.Barrier(2)

    class Meet(Fault):
        async def answer(self, exchange):  # type: ignore[no-untyped-def]
            response = await exchange.proceed()
            await together.wait()  # both have been told that there is no such user
            return response

    raia.fail_next("search_user", Meet(), Meet())
    async with Visitor(server.url, widget.key) as visitor:
        answers = await asyncio.gather(*(visitor.ask_and_wait(text) for text in "ab"))
    assert [answer["status"] for answer in answers] == ["completed"] * 2
    assert len(raia.calls("create_user")) == 2
    assert len(raia.users) == 1


async def test_polls_keep_the_pace_that_is_set_and_never_overlap(
    server: Server, raia: RaiaSimulator
) -> None:
    widget = make_widget(raia_agent(raia, poll_s=0.4))
    raia.ripening = 2
    raia.fail_always("poll", Stall(0.03))
    answer = await ask(server, widget)
    assert answer["status"] == "completed"
    sent = raia.calls("send")[0].at
    times = [sent, *(poll.at for poll in raia.calls("poll"))]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert min(waits) >= 0.4
    assert len(waits) <= 8


async def test_nothing_is_asked_after_a_stop(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.hold()
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Hello")
            await raia.eventually(lambda: len(raia.calls("poll")) > 2)
            await visitor.call("POST", f"/messages/{asked['answer']['id']}/stop", expect=202)
            answer = await socket.final(asked["answer"], timeout_s=2)
            polls = len(raia.calls("poll"))
            looks = len(raia.calls("get_conversation"))
            # The looks after people go on, and while five of them were made, no poll was.
            await raia.eventually(lambda: len(raia.calls("get_conversation")) > looks + 2)
    assert (answer["status"], answer["text"]) == ("stopped", "")
    assert len(raia.calls("poll")) == polls


# --- what comes back ------------------------------------------------------------------------------


async def test_the_older_words_are_understood(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.odd.older_words, raia.ripening = True, 0.2
    assert (await ask(server, widget))["status"] == "completed"
    raia.answer = lambda _: Failure()
    assert failure(await ask(server, widget))[0] == "agent_unavailable"


async def test_a_failed_answer_is_told_and_a_retry_asks_again(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.answer = lambda _: Failure()
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        assert failure(answer)[0] == "agent_unavailable"
        raia.answer = lambda _: "Now it works."
        assert (await visitor.retry_and_wait(answer))["text"] == "Now it works."
    assert len(raia.sends) == 2


async def test_why_an_answer_failed_is_told_without_the_key(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.answer = lambda _: Failure(f"the tokens of {raia.key} are used up")
    assert failure(await ask(server, widget)) == (
        "agent_unavailable",
        "raia says that the answer failed: the tokens of … are used up",
    )


async def test_an_answer_that_never_comes_ends_by_its_deadline(
    server: Server, raia: RaiaSimulator
) -> None:
    raia.hold()
    code, problem = failure(await ask(server, make_widget(raia_agent(raia, total_s=0.6))))
    assert code == "agent_timeout"
    assert "longer than 0.6 s" in problem


async def test_a_retry_asks_again_where_the_late_answer_has_still_not_come(
    server: Server, raia: RaiaSimulator
) -> None:
    raia.hold()
    raia.answer = lambda _: "Now it works."
    async with Visitor(server.url, make_widget(raia_agent(raia, total_s=1.5)).key) as visitor:
        late = await visitor.ask_and_wait("Hello")
        assert failure(late)[0] == "agent_timeout"
        raia.fail_next("send", Stall())
        async with visitor.socket(late["conversation"]) as socket:
            again = await visitor.call("POST", f"/messages/{late['id']}/retry", expect=201)
            await eventually(lambda: raia.stalled > 0)
            assert row(again["answer"]).upstream == {}, "nothing of the late one after a crash"
            raia.release()
            answer = await socket.final(again["answer"])
    assert completed(answer) == "Now it works."
    assert row(answer).upstream["question"] != row(late).upstream["question"]


async def test_both_readings_of_the_send_are_served(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.odd.send_returns_answer = True
    assert (await ask(server, widget))["status"] == "completed"


@pytest.mark.parametrize("switch", ["is_anonymized", "null_full_ai_response", "null_citations"])
async def test_newer_and_missing_fields_do_not_matter(
    server: Server, widget: Widget, raia: RaiaSimulator, switch: str
) -> None:
    setattr(raia.odd, switch, True)
    raia.odd.source = "pigeon"
    answer = await ask(server, widget)
    assert (answer["status"], answer["citations"]) == ("completed", [])


async def test_sources_are_listed_and_those_without_a_web_address_have_none(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.answer = lambda _: Reply(
        "Read on.",
        url_citations=[
            {"title": "Returns", "url": "https://example.com/returns"},
            {"title": "", "url": "http://example.com/"},
            {"title": "Bad", "url": "javascript:alert(1)"},
            {"title": "Worse", "url": None},
        ],
        file_citations=[{"fileId": "f1", "filename": "handbook.pdf"}, {"fileId": "f2"}],
    )
    assert (await ask(server, widget))["citations"] == [
        {"title": "Returns", "url": "https://example.com/returns"},
        {"title": "http://example.com/", "url": "http://example.com/"},
        {"title": "handbook.pdf", "url": ""},
    ]


@pytest.mark.parametrize(
    "odd",
    [
        [{"title": "Docs", "url": "https://[docs"}],
        [{"title": "Docs", "url": "https:docs"}],
        [{"title": "Docs", "url": 5}],
        ["https://example.com/"],
        {"title": "Docs", "url": "https://example.com/"},
        "https://example.com/",
        True,
    ],
    ids=str,
)
async def test_an_odd_source_costs_no_answer(
    server: Server, widget: Widget, raia: RaiaSimulator, odd: Any
) -> None:
    raia.answer = lambda _: Reply("Read on.", url_citations=odd, file_citations=odd)
    answer = await ask(server, widget)
    assert (answer["status"], answer["citations"]) == ("completed", [])


async def test_a_source_with_an_odd_title_is_named_by_its_address(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    odd = [{"title": {"en": "Docs"}, "url": "https://example.com/"}]
    raia.answer = lambda _: Reply("Read on.", url_citations=odd)
    address = "https://example.com/"
    assert (await ask(server, widget))["citations"] == [{"title": address, "url": address}]


async def test_leftover_markers_go_and_html_stays_text(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.odd.marker = raia.odd.html = True
    raia.answer = lambda _: "Open till six"
    answer = await ask(server, widget)
    assert answer["text"].startswith("Open till six\n\n<b>bold</b>")
    assert "<script>alert(2)</script>" in answer["text"]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a 【2:file:6†L1-L8】.", "a."),
        ("【4:0†source】【5†x】b", "b"),
        ("a 【note】 b", "a 【note】 b"),
        ("a 【†", "a 【†"),
        (None, ""),
        (5, ""),
    ],
)
def test_only_markers_are_removed(raw: object, shown: str) -> None:
    assert clean(raw) == shown


async def test_a_very_long_answer_comes_whole(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.odd.huge = True
    answer = await ask(server, widget)
    assert (answer["status"], len(answer["text"])) == ("completed", 200_000)


async def test_an_empty_answer_is_none(server: Server, widget: Widget, raia: RaiaSimulator) -> None:
    raia.answer = lambda _: "【4:0†source】"
    assert failure(await ask(server, widget))[0] == "agent_unavailable"


async def test_only_whole_characters_are_stored(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.answer = lambda _: Reply(
        "a\x00b\ud83d", url_citations=[{"title": "\ud800\x00", "url": "https://example.com"}]
    )
    answer = await ask(server, widget)
    assert (answer["status"], answer["text"]) == ("completed", "a\ufffdb?")


# --- never a second send --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [DropAfter(), Status(201, "{"), Status(201, {"message": "no id"}), Status(500)],
    ids=["answer lost", "half an answer", "no id", "500"],
)
async def test_a_send_whose_answer_was_lost_is_looked_up(
    server: Server, widget: Widget, raia: RaiaSimulator, fault: Fault
) -> None:
    class Stored(Fault):
        """Do the work, and then what the fault does."""

        async def answer(self, exchange):  # type: ignore[no-untyped-def]
            if not isinstance(fault, DropAfter):
                await exchange.proceed()
            return await fault.answer(exchange)

    raia.fail_next("send", Stored())
    answer = await ask(server, widget, "  Spaces around  ")
    assert answer["status"] == "completed"
    assert len(raia.sends) == len(raia.calls("send")) == 1


async def test_a_question_is_looked_up_while_raia_fails_for_a_moment(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("send", DropAfter())
    raia.fail_next("list_messages", Status(500), RateLimited(1), Html(502), Drop(), Drop())
    assert (await ask(server, widget))["status"] == "completed"
    assert len(raia.sends) == len(raia.calls("send")) == 1


async def test_a_look_up_that_fails_for_good_tells_of_the_send_that_was_lost(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("send", DropAfter())
    raia.fail_always("list_messages", Status(500))
    answer = await ask(server, widget)
    assert failure(answer) == ("agent_unavailable", "the connection to raia broke")
    assert len(raia.calls("send")) == 1
    looks = [one.query["orderDirection"] for one in raia.calls("list_messages")]
    assert looks.count("DESC") == 5, "those after people ask for the oldest first"


async def test_the_newest_of_two_same_questions_is_looked_up(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    answers = iter(["First answer", "Second answer"])
    raia.answer = lambda _: next(answers)
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Same")
        raia.fail_next("send", DropAfter())
        second = await ask_again(visitor, first["conversation"], "Same")
    assert (first["text"], second["text"]) == ("First answer", "Second answer")
    assert len(raia.sends) == 2


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Drop(), "agent_unavailable"),
        (Status(500), "agent_unavailable"),
        (Html(502), "agent_unavailable"),
        (Html(504), "agent_timeout"),
        (Html(200), "agent_unavailable"),
        (Stall(30), "agent_timeout"),
        (RateLimited(3), "agent_unavailable"),
        (Status(400, {"message": "INVALID_REQUEST"}), "agent_rejected"),
        (Status(403, {"message": "INVALID_CREDENTIALS"}), "agent_misconfigured"),
    ],
    ids=lambda one: one.code if isinstance(one, Status) else None,
)
async def test_a_send_that_was_lost_fails_openly(
    server: Server, raia: RaiaSimulator, fault: Fault, code: str
) -> None:
    widget = make_widget(raia_agent(raia, idle_s=0.5))
    raia.fail_next("send", fault)
    answer = await ask(server, widget)
    assert failure(answer)[0] == code
    assert (len(raia.calls("send")), len(raia.sends)) == (1, 0)


async def test_an_older_same_question_is_not_taken_for_a_lost_one(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Same")
        raia.fail_next("send", Drop())
        second = await ask_again(visitor, first["conversation"], "Same")
    assert failure(second)[0] == "agent_unavailable"
    assert len(raia.sends) == 1


@pytest.mark.parametrize(
    "fault", [Status(500), Html(502), Drop(), RateLimited()], ids=["500", "502", "dropped", "429"]
)
async def test_polls_that_fail_for_a_moment_do_not_lose_the_answer(
    server: Server, widget: Widget, raia: RaiaSimulator, fault: Fault
) -> None:
    raia.fail_next("poll", *[fault] * 4)
    assert (await ask(server, widget))["status"] == "completed"
    assert len(raia.sends) == 1


async def test_a_limit_on_polls_does_not_lose_the_answer(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("poll", *[RateLimited()] * 8)
    assert (await ask(server, widget))["status"] == "completed"
    assert len(raia.sends) == 1


async def test_polls_that_fail_for_good_end_the_answer(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_always("poll", Status(500))
    assert failure(await ask(server, widget)) == ("agent_unavailable", "HTTP 500 from raia")
    assert len(raia.calls("poll")) == 5


# --- files ----------------------------------------------------------------------------------------

BILL = b"%PDF-1.7 a bill"


async def with_bill(visitor: Visitor, conversation: str | None = None) -> tuple[JSON, str]:
    """Ask with a file. Returns the answer at its end, and the file's id."""
    conversation = conversation or await visitor.conversation()
    file = (await visitor.attach("Bill für März.pdf", BILL))["id"]
    async with visitor.socket(conversation) as socket:
        asked = await visitor.ask(conversation, "What is due?", attachments=[file])
        return await socket.final(asked["answer"]), file


@pytest.fixture
def files(widget: Widget) -> Widget:
    widget.attachments_enabled = True
    widget.save()
    return widget


async def test_a_file_is_uploaded_before_its_question_and_the_storage_gets_no_key(
    server: Server, files: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, files.key) as visitor:
        answer, _ = await with_bill(visitor)
    assert answer["status"] == "completed"
    assert operations(raia) == [*TURN[:3], "upload_url", "store", *TURN[3:]]
    [sent] = [call.json for call in raia.calls("send")]
    [file] = sent["files"]
    assert file["fileName"] == "Bill für März.pdf"
    assert raia.stored == {file["storagePath"]: BILL}
    assert not {"agent-secret-key", "authorization", "cookie"} & {
        name.lower() for name in raia.calls("store")[0].headers
    }


async def test_a_retry_uploads_the_file_again(
    server: Server, files: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("store", Status(503))
    async with Visitor(server.url, files.key) as visitor:
        answer, _ = await with_bill(visitor)
        assert failure(answer) == ("agent_unavailable", "HTTP 503 from the storage of raia")
        assert raia.calls("send") == []
        assert (await visitor.retry_and_wait(answer))["status"] == "completed"
    assert [*raia.stored.values()] == [BILL]
    assert len(raia.calls("send")[0].json["files"]) == 1


async def test_a_file_that_the_storage_refuses_is_told(
    server: Server, files: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("store", Status(413))
    async with Visitor(server.url, files.key) as visitor:
        answer, _ = await with_bill(visitor)
    assert failure(answer) == (
        "agent_rejected",
        "the storage of raia refuses the file (HTTP 413)",
    )


async def test_a_file_that_is_no_longer_kept_is_told_when_it_is_asked_again(
    server: Server, files: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("store", Status(503))
    async with Visitor(server.url, files.key) as visitor:
        answer, file = await with_bill(visitor)
        Attachment.objects.filter(pk=file).update(content=None)
        final = await visitor.retry_and_wait(answer)
    assert failure(final) == ("agent_rejected", "a file of this question is no longer kept")


@UNKNOWN
async def test_a_file_follows_into_the_conversation_that_replaces_a_deleted_one(
    server: Server, files: Widget, raia: RaiaSimulator, unknown: Any
) -> None:
    raia.odd.unknown_id = unknown
    async with Visitor(server.url, files.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        raia.delete_conversation(next(iter(raia.conversations)))
        answer, _ = await with_bill(visitor, first["conversation"])
    assert answer["status"] == "completed"
    [conversation] = raia.conversations
    assert [path.partition("/")[0] for path in raia.stored] == [conversation]


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"signedUrl": "https://storage.example.com/x"},
        {"signedUrl": "file:///etc/passwd", "storagePath": "x"},
        {"signedUrl": "//storage.example.com/x", "storagePath": "x"},
        {"signedUrl": "https:///x", "storagePath": "x"},
        {"signedUrl": 7, "storagePath": "x"},
        ["x"],
    ],
    ids=str,
)
async def test_an_odd_address_to_upload_to_is_the_vendors_fault(
    server: Server, files: Widget, raia: RaiaSimulator, told: object
) -> None:
    raia.fail_next("upload_url", Status(200, told))
    async with Visitor(server.url, files.key) as visitor:
        answer, _ = await with_bill(visitor)
    code, problem = failure(answer)
    assert code == "agent_unavailable"
    assert "to upload" in problem
    assert raia.calls("store") == raia.calls("send") == []


# --- what was deleted or revoked at raia ----------------------------------------------------------


async def test_a_key_revoked_in_the_middle_is_the_operators(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        key, raia.key = raia.key, "another"
        code, problem = failure(await ask_again(visitor, first["conversation"], "Still there?"))
    assert code == "agent_misconfigured"
    assert "INVALID_CREDENTIALS" in problem
    assert key not in problem


@UNKNOWN
@pytest.mark.parametrize("gone", ["conversation", "user"])
async def test_a_conversation_deleted_at_raia_goes_on_in_a_new_one(
    server: Server, widget: Widget, raia: RaiaSimulator, gone: str, unknown: Any
) -> None:
    raia.odd.unknown_id = unknown
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        with raia.changing():
            [user] = raia.users
            if gone == "user":
                del raia.users[user]
        for conversation in [*raia.conversations]:
            raia.delete_conversation(conversation)
        answer = await ask_again(visitor, first["conversation"], "Still there?")
    assert answer["status"] == "completed"
    assert len(raia.conversations) == 1
    stored = Conversation.objects.get(pk=first["conversation"])
    assert [stored.upstream["conversation"]] == [*raia.conversations]
    [known] = StoredVisitor.objects.get(pk=visitor.id).upstream.values()
    assert [known["user"]] == [*raia.users]
    assert [one.text for one in raia.sends] == ["Hello", "Still there?"]


@UNKNOWN
async def test_a_user_deleted_at_raia_gets_another_conversation(
    server: Server, widget: Widget, raia: RaiaSimulator, unknown: Any
) -> None:
    raia.odd.unknown_id = unknown
    async with Visitor(server.url, widget.key) as visitor:
        await visitor.ask_and_wait("Hello")
        with raia.changing():
            raia.users.clear()
            raia.conversations.clear()
        assert (await visitor.ask_and_wait("In another conversation"))["status"] == "completed"
    assert len(raia.users) == len(raia.conversations) == 1


@pytest.mark.parametrize("fault", [Status(400), Status(500)], ids=["400", "500"])
async def test_a_conversation_that_is_there_is_not_replaced(
    server: Server, widget: Widget, raia: RaiaSimulator, fault: Fault
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        raia.fail_next("send", fault)
        answer = await ask_again(visitor, first["conversation"], "Still there?")
    assert answer["status"] == "failed"
    assert len(raia.conversations) == 1
    assert len(raia.calls("send")) == 2


async def test_a_send_that_was_lost_is_not_repeated_in_a_new_conversation(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        raia.delete_conversation(next(iter(raia.conversations)))
        raia.fail_next("send", Drop())
        answer = await ask_again(visitor, first["conversation"], "Still there?")
    assert failure(answer) == ("agent_unavailable", "the connection to raia broke")
    assert len(raia.calls("send")) == 2
    assert raia.conversations == {}


# --- people ---------------------------------------------------------------------------------------


def human(socket: Socket) -> list[str]:
    return [one["text"] for one in socket.messages.values() if one["role"] == "human"]


def has_mode(mode: str) -> Callable[[JSON], bool]:
    return lambda frame: frame["type"] == "conversation" and frame["conversation"]["mode"] == mode


async def test_a_person_who_takes_over_ends_the_agents_answer(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.odd.late_answers = True
    raia.hold()
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Can I speak to someone?")
            await raia.eventually(lambda: raia.calls("poll"))
            [upstream] = raia.conversations
            raia.take_over(upstream)
            await socket.until(has_mode("human"))
            answer = await socket.final(asked["answer"])
            assert (answer["status"], answer["text"], answer["error"]) == ("stopped", "", None)
            raia.release()  # the agent's late answer, which nobody is to see
            for text in ("Robin here.", "How can I help?"):
                raia.human_says(upstream, text)
            await socket.until(lambda _: len(human(socket)) == 2)
            looks = len(raia.calls("list_messages"))
            await raia.eventually(lambda: len(raia.calls("list_messages")) > looks + 2)
            await socket.sync(conversation)
        texts = [(one["role"], one["text"]) for one in await visitor.messages(conversation)]
    assert texts == [
        ("visitor", "Can I speak to someone?"),
        ("agent", ""),
        ("human", "Robin here."),
        ("human", "How can I help?"),
    ]


async def test_a_persons_files_are_named_and_nothing_shows_nothing(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        [upstream] = raia.conversations
        raia.take_over(upstream)
        raia.human_says(upstream, "", "plan.pdf", "price list.xlsx")
        raia.human_says(upstream, " ")
        raia.human_says(upstream, "Robin here.")
        async with visitor.socket(first["conversation"]) as socket:
            await socket.until_message(lambda one: one["text"] == "Robin here.")
            assert human(socket) == ["📎 plan.pdf, price list.xlsx", "Robin here."]


async def test_what_a_visitor_says_to_a_person_goes_upstream_once(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        [upstream] = raia.conversations
        raia.take_over(upstream)
        async with visitor.socket(first["conversation"]) as socket:
            raia.human_says(upstream, "Robin here.")
            await socket.until(has_mode("human"))
            for text in ("Hello Robin", "Are you there?"):
                asked = await visitor.ask(first["conversation"], text)
                answer = await socket.final(asked["answer"])
                assert (answer["status"], answer["text"]) == ("stopped", "")
    assert [one.text for one in raia.sends] == ["Hello", "Hello Robin", "Are you there?"]


async def test_a_conversation_handed_back_is_the_agents_again(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        [upstream] = raia.conversations
        raia.take_over(upstream)
        async with visitor.socket(first["conversation"]) as socket:
            await socket.until(has_mode("human"))
            raia.human_says(upstream, "Goodbye.")
            raia.hand_back(upstream)
            await socket.until(has_mode("agent"))
            asked = await visitor.ask(first["conversation"], "One more thing")
            answer = await socket.final(asked["answer"])
            assert human(socket) == ["Goodbye."]
    assert (answer["status"], "One more thing" in answer["text"]) == ("completed", True)


async def test_a_question_asked_just_after_the_hand_back_is_answered(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        [upstream] = raia.conversations
        Conversation.objects.filter(pk=first["conversation"]).update(mode="human", sync_at=None)
        assert raia.conversations[upstream].mode == "ai"  # which we have not heard of
        answer = await ask_again(visitor, first["conversation"], "Hello again")
    assert answer["status"] == "completed"


async def test_a_wait_that_would_outlast_a_look_puts_off_the_next_one(
    server: Server, raia: RaiaSimulator
) -> None:
    raia.ripening = 0
    widget = make_widget(raia_agent(raia, total_s=200))
    raia.fail_always("get_conversation", RateLimited(retry_after=100))
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        await raia.eventually(lambda: raia.calls("get_conversation"))
    here = Conversation.objects.filter(pk=first["conversation"])
    later = timezone.now() + timedelta(seconds=90)
    await eventually(lambda: here.filter(sync_at__gt=later).exists(), timeout_s=4)


async def test_a_stalled_agent_delays_nobody_elses_person(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    with RaiaSimulator() as dead:
        dead.ripening = 0
        await ask(server, make_widget(raia_agent(dead)))
        dead.fail_always("get_conversation", Stall())
        await dead.eventually(lambda: dead.stalled)
        async with Visitor(server.url, widget.key) as visitor:
            answer = await visitor.ask_and_wait("Hello")
            [upstream] = raia.conversations
            raia.take_over(upstream)
            raia.human_says(upstream, "Robin here.")
            async with visitor.socket(answer["conversation"]) as socket:
                await socket.until_message(lambda one: one["role"] == "human", timeout_s=4)
        assert dead.stalled == 1, "and it is asked once at a time"


# --- set-up ---------------------------------------------------------------------------------------


def test_the_base_url_is_all_that_differs_in_europe() -> None:
    from chatwidget.providers import Setup
    from chatwidget.providers.raia import Raia

    assert Raia(Setup()).base_url == "https://api.raia2.com"
    assert Raia(Setup(base_url="https://api-eu.raia2.com/")).base_url == "https://api-eu.raia2.com"


async def test_ids_in_addresses_are_escaped(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    def odd_id(received: Received) -> Fault | None:
        return Status(201, {"id": "../agents/by-api-key?x="})

    raia.fail_always("create_conversation", odd_id)
    assert failure(await ask(server, widget))[0] == "agent_rejected"
    assert not any(re.search(r"/agents/by-api-key$", one.path) for one in raia.requests)
    raia.violations.clear()  # what such an id leads to is no operation
