"""Moveworks: streamed in snapshots, polled when the stream closes early, rated by stored ids."""

from itertools import count, cycle
from typing import Any

import pytest

from chatwidget.models import Agent, Widget

from ..feedback.conftest import delivery_of, settled
from ..server import ONE_PROCESS, Server
from ..simulators.base import Received
from ..simulators.faults import Drop, DropAfter, Fault, Html, RateLimited, Stall, Status
from ..simulators.moveworks import MoveworksSimulator
from ..simulators.moveworks_ledger import Failure, Reply, Vote
from ..visitor import JSON, Visitor
from ..waiting import eventually
from .asking import QUESTION, ask, ask_again, completed, failure, row, set_options
from .cases.moveworks import MoveworksCase

CASE = MoveworksCase


@pytest.fixture
def moveworks(case: MoveworksCase) -> MoveworksSimulator:
    return case.simulator


def set_credentials(agent: Agent, **credentials: str) -> None:
    agent.credentials = credentials
    agent.save()


def asked(moveworks: MoveworksSimulator) -> list[str]:
    return [message.text for message in moveworks.sends]


# --- a turn ---------------------------------------------------------------------------------------


@ONE_PROCESS
async def test_an_answer_streams_as_markdown_with_sources(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        here = await visitor.conversation()
        async with visitor.socket(here) as socket:
            question = await visitor.ask(here, QUESTION)
            answer = await socket.final(question["answer"])
            assert socket.gaps == 0
            assert any(frame["type"] == "delta" for frame in socket.frames)
    assert completed(answer) == (
        "You asked: Are you open?\n\n👉 See [the help page](https://example.com/help). "
        "It’s open all day [1][2]."
    )
    assert answer["citations"] == [
        {"title": "Opening hours", "url": "https://example.com/hours"},
        {"title": "Holidays", "url": "https://example.com/holidays"},
    ]
    assert answer["rateable"]
    assert "Searched" not in str(socket.frames), "reasoning is not for visitors"


async def test_an_assistant_that_thinks_for_long_is_not_silent(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_options(agent, idle_s=0.8)
    moveworks.pace.step = 0.3  # three thoughts, then the text
    completed(await ask(server, widget))
    assert len(moveworks.calls("poll")) == 1, "the ids of its votes, once it is complete"


async def test_a_second_question_goes_to_the_same_conversation(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait(QUESTION)
        completed(first)
        completed(await ask_again(visitor, first["conversation"], "And tomorrow?"))
    assert len(moveworks.conversations) == 1
    assert asked(moveworks) == [QUESTION, "And tomorrow?"]


@ONE_PROCESS
async def test_a_snapshot_that_extends_the_last_is_appended(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.pace.step = 0.1
    snapshots = ["It is", "It is open", "It is open today."]
    moveworks.answer = lambda _: Reply(snapshots[-1], snapshots=snapshots)
    frames = await changes(server, widget)
    assert [frame["text"] for frame in frames] == ["It is", " open", " today."]


@ONE_PROCESS
async def test_a_snapshot_that_says_something_else_replaces(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.pace.step = 0.1
    snapshots = ["Let me see.", "It is open."]
    moveworks.answer = lambda _: Reply(snapshots[-1], snapshots=snapshots)
    frames = await changes(server, widget)
    assert [frame.get("text") or frame["message"]["text"] for frame in frames] == snapshots
    assert [frame["type"] for frame in frames] == ["delta", "message"]


@ONE_PROCESS
async def test_a_snapshot_that_was_overtaken_says_nothing(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.pace.step, moveworks.odd.swapped = 0.1, True
    moveworks.answer = lambda _: Reply("Open.", snapshots=["Let me see.", "Open."])
    assert [frame["text"] for frame in await changes(server, widget)] == ["Open."]


async def changes(server: Server, widget: Widget) -> list[JSON]:
    """The frames that changed an answer's text while it came."""
    async with Visitor(server.url, widget.key) as visitor:
        here = await visitor.conversation()
        async with visitor.socket(here) as socket:
            question = await visitor.ask(here, QUESTION)
            completed(await socket.final(question["answer"]))
    return [
        frame
        for frame in socket.frames
        if frame["type"] == "delta"
        or (frame["type"] == "message" and frame["message"]["status"] == "streaming")
    ]


@ONE_PROCESS
async def test_half_a_link_is_not_shown(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.pace.step = 0.1
    whole = "See <https://example.com/a|page A> :tada:"
    snapshots = ["See <https://exam", "See <https://example.com/a|pa", whole[:-3], whole]
    moveworks.answer = lambda _: Reply(whole, snapshots=snapshots)
    texts = [frame["text"] for frame in await changes(server, widget)]
    assert texts == ["See ", "[page A](https://example.com/a) ", "🎉"]


async def test_what_the_read_behind_the_stream_says_counts(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.answer = lambda _: Reply("Short.", snapshots=["Short.", "Short. Or rather long."])
    assert completed(await ask(server, widget)) == "Short."


async def test_several_messages_are_one_answer(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    first = Reply("First.", rateable=False)
    first.more = [Reply("Second."), Reply("Third.", rateable=False)]
    moveworks.answer = lambda _: first
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        assert completed(answer) == "First.\n\nSecond.\n\nThird."
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert [message.text for message in moveworks.messages() if message.vote] == ["Second."]


@pytest.mark.parametrize("version", ["rest/v1", "assistant/v1", "rest/v1beta1"])
async def test_each_generation_is_spoken_to_in_its_own_way(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator, version: str
) -> None:
    set_options(agent, api_version=version)
    completed(await ask(server, widget))
    assert {one.path.partition("/conversations")[0] for one in moveworks.requests} == {
        f"/{version}"
    }
    [sent] = moveworks.calls("stream")
    text = {"text": QUESTION}
    assert sent.json == {"input": {"chat": text} if version == "rest/v1" else text}


async def test_links_are_offered_and_other_actions_are_not(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    def url(label: str, target: str) -> JSON:
        return {"type": "URL_ACTION", "label": label, "url_action": {"url": target}}

    press = {"type": "CALLBACK_ACTION", "label": "Do", "callback_action": {"callback_id": "c"}}
    actions = [url("Open", "https://example.com/"), url("Bad", "javascript:alert(1)"), press]
    moveworks.answer = lambda _: Reply("Choose.", actions=actions)
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
    assert answer["links"] == [{"title": "Open", "url": "https://example.com/"}]


async def test_a_reply_filed_under_an_earlier_response_is_found(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        here = await visitor.conversation()
        async with visitor.socket(here) as socket:
            await socket.final((await visitor.ask(here, QUESTION))["answer"])
            moveworks.misfiled = True
            moveworks.answer = lambda _: "A late one."
            answer = await socket.final((await visitor.ask(here, "And tomorrow?"))["answer"])
        assert completed(answer) == "A late one."
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "delivered"


async def test_content_nobody_knows_is_no_answer(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    card = Reply("A card", kind="CARD", rateable=False)
    moveworks.answer = lambda _: Reply("Known.", more=[card])
    assert completed(await ask(server, widget)) == "Known."
    moveworks.answer = lambda _: card
    assert failure(await ask(server, widget))[0] == "agent_unavailable"


# --- the stream's end -----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["after_progress", "mid_event", "reset"])
async def test_a_stream_that_closes_early_is_followed_by_polling(
    server: Server, widget: Widget, moveworks: MoveworksSimulator, ending: Any
) -> None:
    moveworks.odd.ending = ending
    moveworks.answer = lambda _: "It is open."
    assert completed(await ask(server, widget)) == "It is open."
    assert asked(moveworks) == [QUESTION]
    assert moveworks.calls("poll")


async def test_a_stream_that_closes_before_any_event_is_looked_up(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.odd.ending = "before_any"
    completed(await ask(server, widget))
    assert asked(moveworks) == [QUESTION]


@pytest.mark.parametrize("arrived", [True, False])
async def test_the_same_question_again_is_not_answered_by_the_first(
    server: Server, widget: Widget, moveworks: MoveworksSimulator, arrived: bool
) -> None:
    texts = iter(["First answer.", "Second answer."])
    moveworks.answer = lambda _: next(texts)
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait(QUESTION)
        moveworks.fail_next("stream", DropAfter() if arrived else Drop())
        answer = await ask_again(visitor, first["conversation"], QUESTION)
    assert (answer["status"], answer["text"]) == (
        ("completed", "Second answer.") if arrived else ("failed", "")
    )


async def test_a_question_that_is_not_found_fails_openly(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.fail_next("stream", Drop())
    assert failure(await ask(server, widget))[0] == "agent_unavailable"
    assert len(moveworks.calls("stream")) == 1


async def test_a_question_accepted_and_lost_is_found_not_repeated(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.fail_next("stream", DropAfter())
    completed(await ask(server, widget))
    assert asked(moveworks) == [QUESTION]


async def test_a_question_is_looked_up_while_the_vendor_fails_for_a_moment(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.odd.ending = "before_any"
    moveworks.fail_next("list_messages", Status(500), RateLimited(1), Html(502), Status(503))
    completed(await ask(server, widget))
    assert asked(moveworks) == [QUESTION]
    assert len(moveworks.calls("stream")) == 1


async def test_an_error_in_the_stream_is_the_end(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.odd.ending, moveworks.odd.error = "error", ("INTERNAL_ERROR", "out of order")
    code, words = failure(await ask(server, widget))
    assert (code, "out of order" in words) == ("agent_unavailable", True)
    assert moveworks.calls("poll") == moveworks.calls("list_messages") == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("RATE_LIMIT_EXCEEDED", "agent_unavailable"),
        ("FORBIDDEN", "agent_misconfigured"),
        ("INVALID_INPUT", "agent_rejected"),
        ("SOMETHING_NEW", "agent_unavailable"),
    ],
)
async def test_an_error_in_the_stream_means_what_its_code_says(
    server: Server, widget: Widget, moveworks: MoveworksSimulator, error: str, code: str
) -> None:
    moveworks.odd.ending, moveworks.odd.error = "error", (error, "no")
    assert failure(await ask(server, widget))[0] == code


@pytest.mark.parametrize("polled", [False, True])
async def test_a_failed_response_fails_the_answer(
    server: Server, widget: Widget, moveworks: MoveworksSimulator, polled: bool
) -> None:
    moveworks.odd.ending = "after_progress" if polled else "completed"
    moveworks.answer = lambda _: Failure({"code": "OVERLOADED", "message": "too busy"})
    code, words = failure(await ask(server, widget))
    assert code == "agent_unavailable"
    assert words == "Moveworks says that the answer failed: too busy"


@pytest.mark.parametrize("ending", ["completed", "after_progress"])
async def test_an_answer_that_never_comes_ends_by_the_deadline(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator, ending: Any
) -> None:
    set_options(agent, total_s=0.8)
    moveworks.odd.ending = ending
    moveworks.hold()
    assert failure(await ask(server, widget))[0] == "agent_timeout"
    assert asked(moveworks) == [QUESTION]


@pytest.mark.parametrize(
    "odd",
    [
        {"bytewise": True},
        {"comments": True},
        {"twice": True},
        {"swapped": True},
        {"unknown": True},
        {"stays_open": True},
        {"garbage": True},
        {"layout": "typed"},
        {"layout": "wrapped"},
    ],
    ids=str,
)
async def test_a_stream_may_be_odd(
    server: Server, widget: Widget, moveworks: MoveworksSimulator, odd: dict[str, Any]
) -> None:
    for name, value in odd.items():
        setattr(moveworks.odd, name, value)
    moveworks.answer = lambda _: "Naïve 😀 — it’s open."
    assert completed(await ask(server, widget)) == "Naïve 😀 — it’s open."
    assert asked(moveworks) == [QUESTION]


@pytest.mark.parametrize(
    "fault", [Status(500), Status(401), Drop(), Stall(), RateLimited(60), Html(200)], ids=str
)
async def test_the_last_read_may_fail_and_the_answer_stands(
    server: Server, widget: Widget, moveworks: MoveworksSimulator, fault: Fault
) -> None:
    moveworks.fail_always("poll", fault)
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        completed(answer)
        # The ids for feedback are certain in that read only: now the vote reads them.
        await visitor.vote(answer, vote="down")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert moveworks.votes() == [Vote("unhelpful")]


async def test_a_vote_without_ids_fails_openly_where_there_are_none(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.answer = lambda _: Reply("It is open.", rateable=False)
    moveworks.fail_always("poll", Status(500))
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "unsupported"
    assert moveworks.votes() == []


async def test_a_failing_moment_while_polling_is_waited_out(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.odd.ending = "after_progress"
    moveworks.fail_next("poll", Status(503), RateLimited(0))
    completed(await ask(server, widget))


# --- after a crash --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "faults"),
    [(True, []), (False, []), (False, [Html(502), Status(500)])],
    ids=["id stored", "id never heard", "id never heard, and the vendor fails for a moment"],
)
async def test_after_a_crash_the_answer_is_found_and_nothing_sent_again(
    widget: Widget, moveworks: MoveworksSimulator, stored: bool, faults: list[Fault]
) -> None:
    moveworks.hold()
    if not stored:
        moveworks.odd.ending = "silent"
    with Server() as server:
        async with Visitor(server.url, widget.key) as visitor:
            here = await visitor.conversation()
            question = await visitor.ask(here, QUESTION)
            await moveworks.eventually(lambda: moveworks.sends)
            if stored:
                await eventually(lambda: bool(row(question["answer"]).upstream))
            server.kill()
            moveworks.let_go()
            moveworks.fail_next("list_messages", *faults)
            server.start()
            async with visitor.socket(here) as socket:
                completed(await socket.final(question["answer"]))
    assert asked(moveworks) == [QUESTION]
    assert len(moveworks.calls("stream")) == 1


async def test_a_crash_before_the_question_arrived_ends_openly(
    widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.fail_next("stream", Stall())
    with Server() as server:
        async with Visitor(server.url, widget.key) as visitor:
            here = await visitor.conversation()
            question = await visitor.ask(here, QUESTION)
            await moveworks.eventually(lambda: moveworks.stalled)
            server.kill()
            server.start()
            async with visitor.socket(here) as socket:
                answer = await socket.final(question["answer"])
    code, words = failure(answer)
    assert (code, "not known whether" in words) == ("interrupted", True)
    assert len(moveworks.calls("stream")) == 1


# --- late messages --------------------------------------------------------------------------------


async def test_a_late_message_is_the_agents_shown_once_and_can_be_rated(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_options(agent, late_messages="on")
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        [conversation] = moveworks.conversations
        moveworks.say_later(conversation, "By the way: <https://example.com/|more>.")
        async with visitor.socket(answer["conversation"]) as socket:
            late = await socket.until_message(lambda one: "By the way" in one["text"])
        assert (late["role"], late["text"]) == (
            "agent",
            "By the way: [more](https://example.com/).",
        )
        looks = len(moveworks.calls("events"))
        await moveworks.eventually(lambda: len(moveworks.calls("events")) >= looks + 2)
        assert len(await visitor.messages(answer["conversation"])) == 3
        await visitor.vote(late, vote="down")
        assert (await settled(visitor, late))["delivery"] == "delivered"
    assert [one.text[:10] for one in moveworks.messages() if one.vote] == ["By the way"]


async def test_what_a_live_agent_says_is_a_persons_and_takes_no_vote(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_options(agent, late_messages="on", api_version="rest/v1")
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        [conversation] = moveworks.conversations
        moveworks.say_later(conversation, "Hello, Ann here.", actor="LIVE_AGENT", name="Ann")
        async with visitor.socket(answer["conversation"]) as socket:
            said = await socket.until_message(lambda one: one["text"] == "Hello, Ann here.")
        assert (said["role"], said["rateable"]) == ("human", False)


async def test_late_messages_of_many_pages_all_come_and_none_of_another_visitors(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_options(agent, late_messages="on")
    async with Visitor(server.url, widget.key) as one, Visitor(server.url, widget.key) as two:
        mine = await one.ask_and_wait(QUESTION)
        [first] = moveworks.conversations
        theirs = await two.ask_and_wait("And my order?")
        for number in range(105):
            moveworks.say_later(first, f"Late {number}.")
        async with one.socket(mine["conversation"]) as socket:
            await socket.until_message(lambda message: message["text"] == "Late 104.")
        assert len(await two.messages(theirs["conversation"])) == 2


@pytest.mark.parametrize(("cursors", "pages"), [(["same"], 2), (None, 10)], ids=["same", "new"])
async def test_a_list_of_late_messages_without_an_end_is_left(
    server: Server,
    widget: Widget,
    agent: Agent,
    moveworks: MoveworksSimulator,
    cursors: list[str] | None,
    pages: int,
) -> None:
    endless = cycle(cursors) if cursors else map(str, count())

    def page(received: Received) -> Fault:
        return Status(200, {"events": [], "metadata": {"next_cursor": next(endless)}})

    moveworks.fail_always("events", page)
    set_options(agent, late_messages="on")
    await ask(server, widget)

    def looks() -> list[int]:
        """Where in all calls each look began."""
        calls = moveworks.calls("events")
        return [at for at, one in enumerate(calls) if "cursor" not in one.query]

    await moveworks.eventually(lambda: len(looks()) >= 2)
    assert looks()[1] == pages


async def test_nothing_is_looked_for_unless_late_messages_are_on(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    answer = await ask(server, widget)
    assert row(answer).conversation.sync_at is None


async def test_late_messages_may_be_switched_off_again(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_options(agent, late_messages="on")
    answer = await ask(server, widget)
    set_options(agent, late_messages="off")
    await eventually(lambda: row(answer).conversation.sync_at is None)


# --- access ---------------------------------------------------------------------------------------


def with_client(agent: Agent, moveworks: MoveworksSimulator) -> None:
    client_id, client_secret = moveworks.client
    set_credentials(agent, client_id=client_id, client_secret=client_secret)


@pytest.mark.parametrize("shape", ["nested", "flat"])
async def test_client_id_and_secret_are_exchanged_once_for_many_calls(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator, shape: Any
) -> None:
    with_client(agent, moveworks)
    moveworks.token_shape = shape
    for _ in range(2):
        completed(await ask(server, widget))
    assert len(moveworks.calls("token")) == 1
    assert "Authorization" not in moveworks.calls("token")[0].headers


async def test_the_token_is_asked_for_by_a_form_where_switched_on(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    with_client(agent, moveworks)
    set_options(agent, token_body="form")
    completed(await ask(server, widget))
    [asked_for] = moveworks.calls("token")
    assert asked_for.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert asked_for.json is None


async def test_a_token_that_ends_amid_a_turn_is_replaced(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    with_client(agent, moveworks)
    moveworks.hold()
    async with Visitor(server.url, widget.key) as visitor:
        here = await visitor.conversation()
        async with visitor.socket(here) as socket:
            question = await visitor.ask(here, QUESTION)
            await moveworks.eventually(lambda: moveworks.sends)
            moveworks.expire_tokens()
            moveworks.let_go()
            answer = await socket.final(question["answer"])
    completed(answer)
    assert answer["rateable"], "the read behind the stream succeeded"
    assert len(moveworks.calls("token")) == 2


async def test_a_refused_token_is_replaced_before_the_question_goes_out(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    with_client(agent, moveworks)
    completed(await ask(server, widget))
    moveworks.expire_tokens()
    completed(await ask(server, widget))
    assert asked(moveworks) == [QUESTION] * 2
    assert len(moveworks.calls("token")) == 2


async def test_a_token_that_lives_for_seconds_is_not_kept(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    with_client(agent, moveworks)
    moveworks.expires_in = 5
    completed(await ask(server, widget))
    assert len(moveworks.calls("token")) == 3  # conversation, question, read


async def test_another_token_that_is_refused_too_is_the_end(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    with_client(agent, moveworks)
    moveworks.fail_always("create_conversation", Status(401, {"error": {"code": "UNAUTHORIZED"}}))
    code, words = failure(await ask(server, widget))
    assert (code, words) == ("agent_misconfigured", "Moveworks refuses the token")
    assert len(moveworks.calls("token")) == 2


async def test_a_wrong_secret_is_told_as_such(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_credentials(agent, client_id="client-1", client_secret="no-such-secret")
    code, words = failure(await ask(server, widget))
    assert (code, "client id and secret" in words) == ("agent_misconfigured", True)
    assert "no-such-secret" not in words


async def test_a_wrong_path_of_the_token_names_the_option(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    with_client(agent, moveworks)
    for path in ("oauth/v1/token", "/oauth/v2/token"):
        set_options(agent, token_path=path)
        moveworks.fail_always("unknown", Status(404))
        code, words = failure(await ask(server, widget))
        assert (code, "(token_path)" in words) == ("agent_misconfigured", True)


async def test_without_any_credential_nothing_is_asked(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_credentials(agent, client_id="client-1")
    code, words = failure(await ask(server, widget))
    assert (code, words) == (
        "agent_misconfigured",
        "enter an API key, or a client id and a client secret",
    )
    assert moveworks.requests == []


async def test_a_revoked_key_says_so_and_is_not_shown(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    body = {"error": {"code": "UNAUTHORIZED", "message": f"{moveworks.api_key} is revoked"}}
    moveworks.fail_always("create_conversation", Status(401, body))
    code, words = failure(await ask(server, widget))
    assert (code, words) == ("agent_misconfigured", "Moveworks refuses the API key: … is revoked")


async def test_a_wrong_assistant_is_told_with_what_to_check(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_options(agent, assistant_name="Websitebot")
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    assert "'Websitebot'" in words
    assert "Bot Name of a chatbot whose channel is conversationsrestapi" in words


async def test_an_assistant_name_that_cannot_be_sent_is_refused_here(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_options(agent, assistant_name="Bot\nX-Other: 1")
    code, words = failure(await ask(server, widget))
    assert (code, "(assistant_name)" in words) == ("agent_misconfigured", True)
    assert moveworks.requests == []


async def test_404_on_everything_tells_the_three_things_to_check(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.enabled = False
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    for part in ("base URL", "API version", "enabled for the organisation"):
        assert part in words


async def test_a_token_of_another_data_centre_is_told_as_such(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.right_host = False
    code, words = failure(await ask(server, widget))
    assert (code, "another data centre" in words) == ("agent_misconfigured", True)


async def test_another_users_key_begins_another_conversation(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait(QUESTION)
        moveworks.users["other-key"] = "two@example.com"
        set_credentials(agent, api_key="other-key")
        answer = await ask_again(visitor, first["conversation"], "And tomorrow?")
    completed(answer)
    assert {one.user for one in moveworks.conversations.values()} == {
        "one@example.com",
        "two@example.com",
    }
    assert asked(moveworks) == [QUESTION, "And tomorrow?"]


async def test_a_limit_is_told_and_the_question_not_repeated(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.fail_next("stream", RateLimited(60))
    assert failure(await ask(server, widget))[0] == "agent_unavailable"
    assert len(moveworks.calls("stream")) == 1
    assert moveworks.calls("list_messages") == [], "reads share a limit"


# --- feedback -------------------------------------------------------------------------------------


async def test_a_vote_and_its_change_arrive_as_the_ids_that_stand_for_them(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        for vote, thumb in (("up", "helpful"), ("down", "unhelpful")):
            await visitor.vote(answer, vote=vote)
            assert (await settled(visitor, answer))["delivery"] == "delivered"
            assert moveworks.votes() == [Vote(thumb)]
    assert all(set(one.json) == {"callback_id"} for one in moveworks.calls("feedback"))


async def test_a_comment_ends_at_the_vendors_limit_and_reasons_give_way(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    reason = widget.reasons_down[0]
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        for comment, held in (
            ("ä" * 1001, "ä" * 1000),
            ("ä" * 990, "ä" * 990),
            ("No.", f"{reason['label']}\n\nNo."),
        ):
            await visitor.vote(answer, vote="down", comment=comment, reasons=[reason["key"]])
            assert (await settled(visitor, answer))["delivery"] == "delivered"
            [vote] = moveworks.votes()
            assert vote.thumb == "unhelpful"
            assert vote.comment.endswith(held)
            assert len(vote.comment) <= 1000


async def test_a_vote_cannot_be_taken_back(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        await visitor.vote(answer, vote="up")
        await settled(visitor, answer)
        await visitor.vote(answer, vote=None)
        assert (await settled(visitor, answer))["delivery"] == "unsupported"
    assert moveworks.votes() == [Vote("helpful")]


async def test_a_stale_id_is_read_afresh_once(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        moveworks.renew_callbacks()
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert len(moveworks.calls("feedback")) == 2
    assert len(moveworks.calls("list_response_messages")) == 1


async def test_a_vote_that_is_refused_for_good_is_not_tried_again(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    refusal = Status(400, {"error": {"code": "INVALID_REQUEST", "message": "not rateable"}})
    moveworks.fail_always("feedback", refusal)
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "failed"
    assert "not rateable" in delivery_of(answer).problem
    assert len(moveworks.calls("feedback")) == 1, "the id that was read afresh is the same"


async def test_a_vote_arrives_also_where_ids_are_long(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.longer_ids = 300
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert moveworks.votes() == [Vote("helpful")]


async def test_no_thumbs_where_an_id_is_longer_than_can_be_kept(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.longer_ids = 1000
    answer = await ask(server, widget)
    completed(answer)
    assert not answer["rateable"]
    assert row(answer).upstream_id == ""


async def test_a_late_message_whose_id_is_longer_than_can_be_kept_is_left_out(
    server: Server, widget: Widget, agent: Agent, moveworks: MoveworksSimulator
) -> None:
    set_options(agent, late_messages="on")
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        [conversation] = moveworks.conversations
        for text, longer in (("Odd.", 1000), ("By the way.", 0)):
            moveworks.longer_ids = longer
            moveworks.say_later(conversation, text)
        async with visitor.socket(answer["conversation"]) as socket:
            await socket.until_message(lambda one: one["text"] == "By the way.")
        texts = [one["text"] for one in await visitor.messages(answer["conversation"])]
    assert "Odd." not in texts


async def test_no_thumbs_where_the_vendor_sent_no_ids(
    server: Server, widget: Widget, moveworks: MoveworksSimulator
) -> None:
    moveworks.answer = lambda _: Reply("It is open.", rateable=False)
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        assert not answer["rateable"]
        assert (await visitor.vote(answer, expect=409, vote="up"))["code"] == "feedback_not_allowed"
