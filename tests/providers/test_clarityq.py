"""ClarityQ: asked once, looked after, read by an assumed path, rated as a whole."""

from typing import Any
from uuid import uuid4

import pytest

from chatwidget.models import Agent, Message, Widget
from chatwidget.polling import Pace
from chatwidget.providers.base import Ask, Call, Known, Pause, Reply, Setup
from chatwidget.providers.clarityq import ClarityQ

from ..feedback.conftest import delivery_of, settled
from ..server import Server
from ..simulators.clarityq import ClarityQSimulator
from ..simulators.clarityq_product import REMARK, SECRET_SQL, Answer, Failure, rows
from ..simulators.faults import DropAfter, Html, RateLimited, Stall, Status
from ..visitor import Visitor
from .asking import QUESTION, ask, ask_again, failure, marked, set_options
from .cases.clarityq import ClarityQCase

CASE = ClarityQCase


@pytest.fixture
def clarityq(case: ClarityQCase) -> ClarityQSimulator:
    return case.simulator


# --- a turn ---------------------------------------------------------------------------------------


async def test_the_summary_is_the_answer_and_nothing_else_is_shown(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    answer = await ask(server, widget)
    [conversation] = clarityq.conversations.values()
    assert conversation.answer is not None
    assert answer["text"] == conversation.answer.summary
    assert REMARK not in answer["text"]
    assert SECRET_SQL not in answer["text"]
    assert "By region" not in answer["text"]
    assert Message.objects.get(pk=answer["id"]).upstream_id == conversation.id


async def test_each_question_has_a_conversation_of_its_own_there(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait(QUESTION)
        here = first["conversation"]
        second = await ask_again(visitor, here, "And before?")
    assert first["status"] == second["status"] == "completed"
    assert len(clarityq.asked) == 2
    stored = Message.objects.filter(conversation_id=here, role="agent").order_by("position")
    assert [one.upstream["conversation"] for one in stored] == list(clarityq.conversations)
    assert [one.upstream_id for one in stored] == list(clarityq.conversations)


async def test_an_ask_that_is_answered_at_once_is_not_waited_for(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.ripening = 0
    assert (await ask(server, widget))["status"] == "completed"
    assert clarityq.calls("status") == []


@pytest.mark.parametrize("ripening", [0, 0.05])
async def test_an_error_of_the_agent_fails_the_answer(
    server: Server, widget: Widget, clarityq: ClarityQSimulator, ripening: float
) -> None:
    clarityq.ripening = ripening
    clarityq.answer = lambda _: Failure()
    code, words = failure(await ask(server, widget))
    assert (code, words) == ("agent_unavailable", "ClarityQ says that the answer failed")
    assert clarityq.calls("answer") == []


def test_looks_keep_to_the_pace_for_five_minutes() -> None:
    product = str(uuid4())
    provider = ClarityQ(Setup(options={"product_id": product}))
    known = Known(answer={"conversation": str(uuid4())})
    pace = Pace(every_s=2.5)
    ask = Ask(visitor="", conversation="", text=QUESTION, known=known, pace=pace)
    flow = provider.answer(ask)
    waits: list[float] = []
    step = next(flow)
    while len(waits) < 5:
        if isinstance(step, Pause):
            waits.append(step.seconds)
        step = flow.send(Reply(200, {"status": "IN_PROGRESS"}) if isinstance(step, Call) else None)
    assert waits == [2.5] * 5
    assert provider.number("total_s") == 300


async def test_a_passing_failure_while_waiting_is_waited_out(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.fail_next("status", Status(500), RateLimited(0))
    clarityq.fail_next("answer", Status(503))
    assert (await ask(server, widget))["status"] == "completed"
    assert len(clarityq.asked) == 1


async def test_a_limit_while_waiting_does_not_lose_the_answer(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.fail_next("status", *[RateLimited()] * 8)
    assert (await ask(server, widget))["status"] == "completed"
    assert len(clarityq.asked) == 1


async def test_a_lasting_failure_while_waiting_fails_the_answer(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.fail_always("status", Status(500))
    code, words = failure(await ask(server, widget))
    assert (code, words) == ("agent_unavailable", "HTTP 500 from ClarityQ")
    assert len(clarityq.calls("status")) == 5


async def test_a_long_ban_is_not_waited_out(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.fail_always("status", RateLimited(3600))
    assert failure(await ask(server, widget))[0] == "agent_unavailable"
    assert len(clarityq.calls("status")) == 1


async def test_an_ask_of_unknown_fate_is_not_repeated(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.fail_next("ask", DropAfter())
    code, _ = failure(await ask(server, widget))
    assert code == "agent_unavailable"
    assert clarityq.asked == [QUESTION]


async def test_after_a_crash_the_answer_is_found_by_its_stored_id(
    widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.hold()
    with Server() as server:
        async with Visitor(server.url, widget.key) as visitor:
            conversation = await visitor.conversation()
            asked = await visitor.ask(conversation, QUESTION)
            await clarityq.eventually(lambda: clarityq.calls("status"))
            server.kill()
            clarityq.release()
            server.start()
            async with visitor.socket(conversation) as socket:
                answer = await socket.final(asked["answer"])
    assert answer["status"] == "completed"
    assert clarityq.asked == [QUESTION]


async def test_a_crash_before_the_id_was_known_ends_openly(
    widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.fail_next("ask", Stall())
    with Server() as server:
        async with Visitor(server.url, widget.key) as visitor:
            conversation = await visitor.conversation()
            asked = await visitor.ask(conversation, QUESTION)
            await clarityq.eventually(lambda: clarityq.stalled)
            server.kill()
            server.start()
            async with visitor.socket(conversation) as socket:
                answer = await socket.final(asked["answer"])
    code, words = failure(answer)
    assert code == "interrupted"
    assert "not known whether the question reached" in words
    assert len(clarityq.calls("ask")) == 1


# --- the answer's path and content ----------------------------------------------------------------


async def test_a_wrong_guess_of_the_path_tells_which_option_to_change(
    server: Server, widget: Widget, agent: Agent, clarityq: ClarityQSimulator
) -> None:
    clarityq.answer_path = "/api/v2/answers/{conversation_id}"
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    assert "Path of the answer (answer_path)" in words
    await marked(agent, words)
    set_options(agent, answer_path="/api/v2/answers/{conversation_id}")
    assert (await ask(server, widget))["status"] == "completed"
    await marked(agent, "")


@pytest.mark.parametrize("path", ["/api/v1/summary", "@evil.test/{conversation_id}"])
async def test_a_path_that_cannot_be_one_is_told_before_it_is_used(
    server: Server, widget: Widget, agent: Agent, clarityq: ClarityQSimulator, path: str
) -> None:
    set_options(agent, answer_path=path)
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    assert "must begin with / and hold {conversation_id}" in words
    assert clarityq.asked == []


async def test_an_answer_that_is_not_ready_yet_is_read_again(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.unfinished_reads = 5
    assert (await ask(server, widget))["status"] == "completed"
    assert len(clarityq.calls("answer")) == 6


@pytest.mark.parametrize("summary", [None, "", "  "])
async def test_an_answer_without_text_fails_in_plain_words(
    server: Server, widget: Widget, clarityq: ClarityQSimulator, summary: str | None
) -> None:
    clarityq.answer = lambda _: Answer(summary, (rows({"region": "North"}),))
    code, words = failure(await ask(server, widget))
    assert code == "agent_unavailable"
    assert words == "ClarityQ completed the answer without any text"


async def test_tables_are_shown_where_switched_on_as_text_not_as_markdown(
    server: Server, widget: Widget, agent: Agent, clarityq: ClarityQSimulator
) -> None:
    set_options(agent, show_tables="on")
    clarityq.answer = lambda _: Answer(
        "Here:",
        (
            rows(
                {"a|b": "x | y\nz", "n": 1}, {"n": None, "c": "[go](https://evil.test)"}, title="T"
            ),
            rows(),
            rows({"n": 2}, error="query failed"),
        ),
    )
    assert (await ask(server, widget))["text"] == (
        "Here:\n\n**T**\n\n| a\\|b | n | c |\n| --- | --- | --- |\n"
        "| x \\| y z | 1 |  |\n|  |  | \\[go\\]\\(https://evil.test\\) |"
    )


async def test_a_long_table_says_what_it_leaves_out(
    server: Server, widget: Widget, agent: Agent, clarityq: ClarityQSimulator
) -> None:
    set_options(agent, show_tables="on")
    found = [{"n": number, "t": "x" * 300} for number in range(60)]
    clarityq.answer = lambda _: Answer(None, (rows(*found),))
    lines = (await ask(server, widget))["text"].splitlines()
    assert len(lines) == 2 + 50 + 2
    assert lines[-1] == "… and 10 more rows"
    assert max(map(len, lines)) < 220


# --- context --------------------------------------------------------------------------------------


async def second_prompt(server: Server, widget: Widget, clarityq: ClarityQSimulator) -> str:
    clarityq.answer = lambda _: "Ten million."
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait(QUESTION)
        await ask_again(visitor, first["conversation"], "And before?")
    return clarityq.asked[1]


def asks_back(prompt: str) -> str:
    """Answers once it is told of what and where, by one prompt."""
    told = "revenue" in prompt and "North" in prompt
    return "Ten million." if told else "Which region do you mean?"


async def test_a_reply_to_the_agents_own_question_is_asked_together_with_the_first(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.answer = asks_back
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("What is our revenue?")
        assert first["text"] == "Which region do you mean?"
        second = await ask_again(visitor, first["conversation"], "North")
        assert second["text"] == "Ten million."


async def test_a_question_is_asked_alone_where_context_is_switched_off(
    server: Server, widget: Widget, agent: Agent, clarityq: ClarityQSimulator
) -> None:
    set_options(agent, context_chars=0)
    assert await second_prompt(server, widget, clarityq) == "And before?"


async def test_context_is_set_apart_from_the_question(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    assert await second_prompt(server, widget, clarityq) == (
        "<earlier_conversation>\nVisitor: Are you open?\nAssistant: Ten million.\n"
        "</earlier_conversation>\n\nThe above is for context only. Answer this question:\n\n"
        "And before?"
    )
    assert clarityq.asked[0] == QUESTION


async def test_context_keeps_to_its_bound_and_prefers_what_is_newest(
    server: Server, widget: Widget, agent: Agent, clarityq: ClarityQSimulator
) -> None:
    set_options(agent, context_chars=30)
    earlier = (await second_prompt(server, widget, clarityq)).split("\n")[1:3]
    assert earlier == ["Visitor", "Assistant: Ten million."]
    assert len("".join(earlier)) == 30


# --- feedback -------------------------------------------------------------------------------------


def record(clarityq: ClarityQSimulator) -> tuple[str | None, str | None]:
    [conversation] = clarityq.conversations.values()
    return conversation.rating, conversation.comment


def sent(clarityq: ClarityQSimulator) -> list[Any]:
    return [one.json for one in clarityq.calls("feedback")]


async def test_feedback_is_always_sent_whole(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    label = widget.reasons_down[0]["label"]
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        for said, held in (
            ({"vote": "up"}, ("POSITIVE", None)),
            (
                {"vote": "down", "comment": "No", "reasons": [widget.reasons_down[0]["key"]]},
                ("NEGATIVE", f"{label}\n\nNo"),
            ),
            ({"vote": None, "comment": "Only words"}, (None, "Only words")),
            ({"vote": "up"}, ("POSITIVE", None)),
            ({"vote": None}, (None, None)),
        ):
            await visitor.vote(answer, **said)
            assert (await settled(visitor, answer))["delivery"] == "delivered"
            assert record(clarityq) == held
    assert all(set(body) == {"rating", "comment"} for body in sent(clarityq))


async def test_a_comment_needs_no_vote(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        await visitor.vote(answer, vote=None, comment="Only words")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert record(clarityq) == (None, "Only words")


async def test_taking_back_what_was_never_said_sends_nothing(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        assert (await visitor.vote(answer, vote=None))["delivery"] == "delivered"
    assert clarityq.calls("feedback") == []


async def test_a_long_comment_is_never_cut_and_reasons_give_way(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    comment = "ä" * 1995
    key = widget.reasons_down[0]["key"]
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        await visitor.vote(answer, vote="down", comment=comment, reasons=[key])
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    held = record(clarityq)[1] or ""
    assert held.endswith(f"\n\n{comment}")
    assert len(held) == 2000


async def test_a_vote_that_comes_too_early_is_brought_later(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        [conversation] = clarityq.conversations.values()
        with clarityq.changing():
            conversation.status = "IN_PROGRESS"
        await visitor.vote(answer, vote="up")
        await clarityq.eventually(lambda: len(clarityq.calls("feedback")) == 2)
        with clarityq.changing():
            conversation.status = "COMPLETED"
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert record(clarityq) == ("POSITIVE", None)


async def test_two_nulls_refused_are_followed_by_an_empty_comment(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.clearing = "empty_comment"
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        await visitor.vote(answer, vote="down")
        await settled(visitor, answer)
        await visitor.vote(answer, vote=None)
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert record(clarityq) == (None, "")
    assert sent(clarityq)[1:] == [
        {"rating": None, "comment": None},
        {"rating": None, "comment": ""},
    ]


async def test_clearing_that_is_refused_is_not_called_delivered(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    clarityq.clearing = "no"
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        await visitor.vote(answer, vote="down")
        await settled(visitor, answer)
        await visitor.vote(answer, vote=None)
        assert (await settled(visitor, answer))["delivery"] == "unsupported"
    assert record(clarityq) == ("NEGATIVE", None)
    assert "still holds" in delivery_of(answer).problem


async def test_a_vote_on_an_answer_of_another_vendor_fails_once_and_in_plain_words(
    server: Server, widget: Widget, clarityq: ClarityQSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait(QUESTION)
        Message.objects.filter(pk=answer["id"]).update(upstream_id="msg_68a1b2c3")
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "failed"
    assert delivery_of(answer).problem == "the answer's id is none of ClarityQ's"
    assert clarityq.calls("feedback") == []


# --- set-up and errors ----------------------------------------------------------------------------


async def test_a_product_id_that_is_none_is_told_in_plain_words(
    server: Server, widget: Widget, agent: Agent, clarityq: ClarityQSimulator
) -> None:
    set_options(agent, product_id="../other")
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    assert "Product id (product_id) is not an id" in words
    assert clarityq.requests == []


@pytest.mark.parametrize("key", ["wrong", "key-of-another-product"])
async def test_a_refused_key_names_key_product_and_role(
    server: Server, widget: Widget, agent: Agent, key: str
) -> None:
    agent.credentials = {"api_key": key}
    agent.save()
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    assert "refuses the key, the product or the role of the key's maker" in words
    assert words.endswith(("Invalid API key", "This key belongs to another product"))
    assert key not in words


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (
            Status(422, {"detail": [{"loc": ["body", "prompt"], "msg": "Too long", "type": "x"}]}),
            "agent_rejected",
            "ClarityQ refuses the request (HTTP 422): Too long at body.prompt",
        ),
        (
            Status(422, {"detail": [{"loc": 5, "msg": "Too long"}, {"loc": None, "msg": 7}, "?"]}),
            "agent_rejected",
            "ClarityQ refuses the request (HTTP 422): Too long at 5; 7",
        ),
        (
            Status(422, {"detail": "Too long"}),
            "agent_rejected",
            "ClarityQ refuses the request (HTTP 422): Too long",
        ),
        (Status(404, {"detail": "Not Found"}), "agent_misconfigured", "no such product"),
        (RateLimited(7), "agent_unavailable", "HTTP 429"),
        (Html(502), "agent_unavailable", "HTTP 502"),
        (Html(200), "agent_unavailable", "not JSON"),
        (Status(200, {"status": "IN_PROGRESS", "message": "", "conversation_id": "../x"}),
         "agent_unavailable", "without a proper id"),
        (Status(200, ["IN_PROGRESS"]), "agent_unavailable", "without a status"),
    ],
)  # fmt: skip
async def test_a_failed_ask_is_told_by_its_next_step(
    server: Server,
    widget: Widget,
    clarityq: ClarityQSimulator,
    fault: Status,
    code: str,
    words: str,
) -> None:
    clarityq.fail_next("ask", fault)
    told = failure(await ask(server, widget))
    assert told[0] == code
    assert words in told[1]
    assert len(clarityq.calls("ask")) == 1
