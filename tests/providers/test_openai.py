"""OpenAI-compatible servers: what is asked, how an answer ends, and every way it can break."""

import asyncio
from collections.abc import Callable
from typing import Any, get_args

import pytest

from chatwidget.models import Widget
from chatwidget.providers import drive

from ..cast import make_agent, make_conversation, make_visitor, make_widget, openai_agent
from ..server import Server
from ..simulators.faults import Drop, Fault, Html, RateLimited, Stall, Status
from ..simulators.openai import OpenAISimulator
from ..simulators.openai_stream import EarlyEnding, ErrorShape, LateEnding, ThoughtsIn
from ..visitor import Visitor
from .asking import ask, ask_again, completed, failure


def make_model(openai: OpenAISimulator, **options: object) -> Widget:
    return make_widget(openai_agent(openai, **{"idle_s": 0.5, "total_s": 10} | options))


@pytest.fixture
def widget(openai: OpenAISimulator) -> Widget:
    return make_model(openai)


# --- asking ---------------------------------------------------------------------------------------


async def test_a_question_is_one_streamed_request(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    answer = await ask(server, widget, "Are you open?")
    assert (answer["status"], answer["text"]) == ("completed", "Hello, how can I help?")
    [request] = openai.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {openai.key}"
    assert request.headers["Accept"] == "text/event-stream"
    assert request.json == {
        "model": openai.model,
        "messages": [{"role": "user", "content": "Are you open?"}],
        "stream": True,
    }


async def test_a_server_without_a_key_is_sent_none(server: Server, openai: OpenAISimulator) -> None:
    widget = make_widget(
        make_agent("Local", "openai", base_url=openai.base_url, options={"model": openai.model})
    )
    await ask(server, widget)
    assert "Authorization" not in openai.requests[0].headers


async def test_the_system_prompt_comes_first_and_the_past_in_order(
    server: Server, openai: OpenAISimulator
) -> None:
    widget = make_model(openai, system_prompt="Be brief.")
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("First")
        await ask_again(visitor, first["conversation"], "Second")
    assert openai.sends[1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First"},
        {"role": "assistant", "content": "Hello, how can I help?"},
        {"role": "user", "content": "Second"},
    ]


async def test_what_failed_and_what_was_stopped_is_no_past_and_its_question_joins_the_next(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.alternating = True
    openai.fail_next("send", Status(500))
    async with Visitor(server.url, widget.key) as visitor:
        failed = await visitor.ask_and_wait("First")
        here = failed["conversation"]
        async with visitor.socket(here) as socket:
            openai.odd.stall_after = 3
            asked = await visitor.ask(here, "Second")
            await openai.eventually(lambda: openai.stalled == 1)
            await visitor.call("POST", f"/messages/{asked['answer']['id']}/stop", expect=202)
            await socket.final(asked["answer"])
            openai.odd.stall_after = None
            asked = await visitor.ask(here, "Third")
            answer = await socket.final(asked["answer"])
    assert answer["status"] == "completed"
    assert openai.sends[-1]["messages"] == [{"role": "user", "content": "First\n\nSecond\n\nThird"}]


async def test_an_answer_that_was_asked_for_again_joins_the_one_before(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.alternating = True
    openai.fail_next("send", Status(500))
    openai.tokens = lambda messages: [f"To {messages[-1]['content'][-5:]}"]
    async with Visitor(server.url, widget.key) as visitor:
        failed = await visitor.ask_and_wait("First")
        await ask_again(visitor, failed["conversation"], "Later")
        assert (await visitor.retry_and_wait(failed))["status"] == "completed"
        answer = await ask_again(visitor, failed["conversation"], "Third")
    assert answer["status"] == "completed"
    assert [one["content"] for one in openai.sends[-1]["messages"]] == [
        "First\n\nLater",
        "To Later\n\nTo First",
        "Third",
    ]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, 6),
        ({"history_messages": 2}, 2),
        ({"history_messages": 3}, 2),  # an answer whose question was cut off goes with it
        ({"history_messages": 1}, 0),
        ({"history_messages": 0}, 0),
        ({"history_chars": 25}, 2),
        ({"history_chars": 35}, 2),
        ({"history_chars": 9}, 0),
        ({"history_messages": "many"}, 6),
    ],
)
async def test_the_past_is_bounded_from_its_newest_end(
    server: Server, openai: OpenAISimulator, options: dict[str, object], kept: int
) -> None:
    openai.alternating = True
    widget = make_model(openai, **options)
    async with Visitor(server.url, widget.key) as visitor:
        past = [(("visitor", "agent")[n % 2], f"message {n}!") for n in range(6)]  # 10 characters
        conversation = make_conversation(past, visitor=make_visitor(widget))
        type(conversation).objects.filter(pk=conversation.pk).update(visitor=visitor.id)
        assert (await ask_again(visitor, str(conversation.pk), "Now"))["status"] == "completed"
    texts = [message["content"] for message in openai.sends[0]["messages"]]
    assert texts == [*[text for _, text in past[6 - kept :]], "Now"]


# --- how an answer ends ---------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["stop", "length", "eos", "eos_token", "end_turn", "STOP"])
async def test_a_known_end_is_an_answer(
    server: Server, widget: Widget, openai: OpenAISimulator, reason: str
) -> None:
    openai.finish_reason = reason
    answer = await ask(server, widget)
    assert (answer["status"], answer["text"]) == ("completed", "Hello, how can I help?")


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "max_tokens", "model_length"])
async def test_an_answer_that_was_cut_at_a_limit_stands(
    server: Server, widget: Widget, openai: OpenAISimulator, reason: str
) -> None:
    openai.finish_reason = reason
    assert completed(await ask(server, widget)) == "Hello, how can I help?"


@pytest.mark.parametrize("reason", ["tool_calls", "a word nobody knows"])
async def test_an_unknown_end_keeps_what_came_and_offers_a_retry(
    server: Server, widget: Widget, openai: OpenAISimulator, reason: str
) -> None:
    openai.finish_reason = reason
    answer = await ask(server, widget)
    assert answer["text"] == "Hello, how can I help?"
    code, problem = failure(answer)
    assert code == "interrupted"
    assert reason in problem


async def test_a_filtered_answer_is_rejected(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.finish_reason = "content_filter"
    code, problem = failure(await ask(server, widget))
    assert code == "agent_rejected"
    assert "filter" in problem


async def test_an_empty_answer_is_none(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens = []
    assert failure(await ask(server, widget))[0] == "agent_unavailable"


@pytest.mark.parametrize("heartbeat", [False, True])
@pytest.mark.parametrize("ending", get_args(LateEnding))
async def test_an_answer_without_done_is_complete_by_its_reason_however_its_stream_ends(
    server: Server, widget: Widget, openai: OpenAISimulator, ending: LateEnding, heartbeat: bool
) -> None:
    openai.odd.ending, openai.odd.heartbeat = ending, heartbeat
    assert completed(await ask(server, widget)) == "Hello, how can I help?"


async def test_done_is_not_waited_for_as_long_as_text(
    server: Server, openai: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "ENDING_S", 0.1)
    openai.odd.ending = "left_open"
    async with asyncio.timeout(10):
        answer = await ask(server, make_model(openai, idle_s=60, total_s=60))
    assert completed(answer) == "Hello, how can I help?"


async def test_a_reason_that_comes_with_every_token_cuts_nothing_off(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.early_reason, openai.thoughts, openai.rate = True, ["hm", "so"], 20
    assert completed(await ask(server, widget)) == "Hello, how can I help?"


async def test_the_reason_of_a_thought_is_not_the_answers(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.early_reason, openai.odd.stall_after, openai.thoughts = True, 0, ["hm"]
    assert failure(await ask(server, widget))[0] == "agent_timeout"


@pytest.mark.parametrize("ending", ["early_eof", "mid_event"])
async def test_a_stream_cut_short_keeps_what_came(
    server: Server, widget: Widget, openai: OpenAISimulator, ending: EarlyEnding
) -> None:
    openai.odd.ending = ending
    answer = await ask(server, widget)
    assert answer["text"] == "Hello, how"
    assert failure(answer)[0] == "interrupted"


async def test_a_connection_that_breaks_keeps_what_came(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.ending, openai.rate = "reset", 20
    answer = await ask(server, widget)
    assert "Hello, how can I help?".startswith(answer["text"])
    assert failure(answer)[0] in ("interrupted", "agent_unavailable")


@pytest.mark.parametrize("shape", get_args(ErrorShape))
async def test_an_error_inside_the_stream_keeps_what_came_and_tells_the_operator(
    server: Server, widget: Widget, openai: OpenAISimulator, shape: ErrorShape
) -> None:
    openai.odd.ending, openai.odd.error_shape = "error", shape
    answer = await ask(server, widget)
    assert answer["text"] == "Hello, how"
    code, problem = failure(answer)
    assert code == "agent_unavailable"
    assert "had an error while processing" in problem


@pytest.mark.parametrize("heartbeat", [False, True])
async def test_a_stalled_stream_ends_by_its_deadline(
    server: Server, widget: Widget, openai: OpenAISimulator, heartbeat: bool
) -> None:
    openai.odd.stall_after, openai.odd.heartbeat = 3, heartbeat
    answer = await ask(server, widget)
    assert answer["text"] == "Hello, how"
    assert failure(answer)[0] == "agent_timeout"
    await openai.eventually(lambda: openai.aborted == 1)


# --- reasoning models -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", get_args(ThoughtsIn))
async def test_a_model_that_thinks_for_long_is_not_silent_and_its_thoughts_are_not_shown(
    server: Server, widget: Widget, openai: OpenAISimulator, where: ThoughtsIn
) -> None:
    openai.thoughts, openai.thoughts_in = ["hm "] * 20, where  # a second, twice `idle_s`
    openai.rate = 20
    answer = await ask(server, widget)
    assert completed(answer) == "Hello, how can I help?"


@pytest.mark.parametrize("cut", [list, lambda text: [text]], ids=["bit by bit", "at once"])
@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<think>\nIs <b> < 3?\n</think>\n\nHello, **you**.", "Hello, **you**."),
        ("\n<think></think>Hello.", "Hello."),
        ("<thinking> is a tag.", "<thinking> is a tag."),
        ("Say <think>aloud</think>.", "Say <think>aloud</think>."),
        ("<think>One.</think>Write <think>two</think>.", "Write <think>two</think>."),
        ("<thin", "<thin"),
    ],
)
async def test_what_a_model_thinks_aloud_is_not_shown(
    server: Server,
    widget: Widget,
    openai: OpenAISimulator,
    written: str,
    shown: str,
    cut: Callable[[str], list[str]],
) -> None:
    openai.tokens = cut(written)
    assert completed(await ask(server, widget)) == shown


async def test_thinking_aloud_for_long_is_not_silence(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = ["<think>", *["hm "] * 20, "</think>", "Hello."], 20
    assert completed(await ask(server, widget)) == "Hello."


async def test_a_model_that_only_thought_has_not_answered(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens = ["<think>", "hm"]
    assert failure(await ask(server, widget)) == (
        "agent_unavailable",
        "the vendor sent an empty answer",
    )


async def test_empty_thoughts_are_as_good_as_silence(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.thoughts, openai.rate = [""] * 40, 20
    code, problem = failure(await ask(server, widget))
    assert (code, "silent for 0.5 s" in problem) == ("agent_timeout", True)


async def test_a_model_that_thinks_for_ever_ends_by_the_deadline_of_the_whole(
    server: Server, openai: OpenAISimulator
) -> None:
    openai.thoughts, openai.rate = ["hm "] * 100, 20
    code, problem = failure(await ask(server, make_model(openai, total_s=1)))
    assert (code, "longer than 1 s" in problem) == ("agent_timeout", True)
    await openai.eventually(lambda: openai.aborted == 1)


# --- odd streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("switch", ["multiline", "bytewise", "bom", "heartbeat", "unknown_event"])
async def test_odd_but_legal_streams_say_the_same(
    server: Server, widget: Widget, openai: OpenAISimulator, newline: Any, switch: str
) -> None:
    openai.odd.newline = newline
    setattr(openai.odd, switch, True)
    answer = await ask(server, widget)
    assert (answer["status"], answer["text"]) == ("completed", "Hello, how can I help?")


@pytest.mark.parametrize("switch", ["parts", "spare_choice"])
async def test_only_the_text_of_the_first_choice_is_the_answer(
    server: Server, widget: Widget, openai: OpenAISimulator, switch: str
) -> None:
    setattr(openai.odd, switch, True)
    assert completed(await ask(server, widget)) == "Hello, how can I help?"


@pytest.mark.parametrize("odd", ["data: null\n\n", "data: [DONE]  \n\n"])
async def test_nothing_to_say_and_blanks_behind_the_end_break_no_answer(
    server: Server, widget: Widget, openai: OpenAISimulator, odd: str
) -> None:
    stream = f'data: {{"choices": [{{"delta": {{"content": "Yes."}}}}]}}\n\n{odd}data: [DONE]\n\n'
    openai.fail_next("send", Status(200, stream, {"Content-Type": "text/event-stream"}))
    assert completed(await ask(server, widget)) == "Yes."


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["👩", "\u200d👩\u200d", "👧"], "👩\u200d👩\u200d👧"),
        (["\ud83d", "\ude00 hi"], "😀 hi"),
        (["a\x00b"], "a\ufffdb"),
        (["half \ud83d", "", "x"], "half \ufffdx"),
        (["مرحبا", " بك"], "مرحبا بك"),
    ],
    ids=["joined", "split", "NUL", "half", "right-to-left"],
)
async def test_characters_come_whole(
    server: Server, widget: Widget, openai: OpenAISimulator, tokens: list[str], text: str
) -> None:
    openai.tokens, openai.odd.bytewise = tokens, True
    answer = await ask(server, widget)
    assert (answer["status"], answer["text"]) == ("completed", text)


async def test_bytes_that_are_no_text_are_replaced(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.bad_utf8 = True
    answer = await ask(server, widget)
    assert (answer["status"], answer["text"]) == ("completed", "Hello\ufffd\ufffd, how can I help?")


async def test_an_event_above_the_limit_is_refused(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.oversize = 1 << 20
    code, problem = failure(await ask(server, widget))
    assert code == "agent_unavailable"
    assert "1048576 bytes" in problem


async def test_a_very_long_answer_is_cut_and_stands(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens = ["x" * 10_000] * 30
    answer = await ask(server, widget)
    assert (answer["status"], len(answer["text"])) == ("completed", 256 * 1024)


@pytest.mark.parametrize(
    "chunk",
    [
        "[]",
        "nonsense",
        '{"choices": null}',
        '{"choices": [null]}',
        '{"choices": [{"delta": "text"}]}',
        '{"choices": [{"delta": {"content": [{"type": "text"}]}}]}',
        '{"choices": [{"delta": {"content": [null, {"type": "text", "text": 5}, {"text": "x"}]}}]}',
        '{"choices": [{"index": 1, "delta": {"content": "another"}}]}',
        '{"choices": [{"index": {}, "delta": {"reasoning": "hm"}}]}',
        '{"choices": [{"delta": {"content": 5}, "finish_reason": []}]}',
    ],
)
async def test_a_chunk_outside_the_contract_is_never_shown(
    server: Server, widget: Widget, openai: OpenAISimulator, chunk: str
) -> None:
    stream = f"data: {chunk}\n\ndata: [DONE]\n\n"
    openai.fail_next("send", Status(200, stream, {"Content-Type": "text/event-stream"}))
    answer = await ask(server, widget)
    assert answer["text"] == ""
    code, problem = failure(answer)
    assert code == "agent_unavailable"
    assert "internal error" not in problem


async def test_a_models_own_refusal_is_its_answer(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    stream = (
        'data: {"choices": [{"delta": {"content": null, "refusal": "I would rather not."}}]}\n\n'
        'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
        'data: {"choices": [], "usage": {"total_tokens": 9}}\n\n'
        "data: [DONE]\n\n"
    )
    openai.fail_next("send", Status(200, stream, {"Content-Type": "text/event-stream"}))
    answer = await ask(server, widget)
    assert (answer["status"], answer["text"]) == ("completed", "I would rather not.")


# --- refusals and outages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        (Status(401, {"error": {"message": "Bad key"}}), "agent_misconfigured", "Bad key"),
        (Status(404, {"error": {"message": "No model"}}), "agent_misconfigured", "No model"),
        (Status(402, {"error": {"message": "Pay"}}), "agent_misconfigured", "Pay"),
        (Status(400, {"error": {"message": "your text"}}), "agent_rejected", "HTTP 400"),
        (RateLimited(5), "agent_unavailable", "429"),
        (Status(500), "agent_unavailable", "500"),
        (Html(502), "agent_unavailable", "502"),
        (Html(200), "agent_unavailable", "text/html"),
        (Html(504), "agent_timeout", "504"),
        (Drop(), "agent_unavailable", "broke"),
        (Stall(), "agent_timeout", "silent"),
    ],
    ids=lambda one: one.code if isinstance(one, Status) else None,
)
async def test_each_refusal_is_somebodys_next_step(
    server: Server, widget: Widget, openai: OpenAISimulator, fault: Fault, code: str, told: str
) -> None:
    openai.fail_next("send", fault)
    got, problem = failure(await ask(server, widget))
    assert got == code
    assert told in problem
    assert openai.key not in problem
    assert "your text" not in problem
    assert len(openai.calls("send")) == 1


async def test_an_unknown_model_and_a_revoked_key_are_the_operators(
    server: Server, openai: OpenAISimulator
) -> None:
    code, problem = failure(await ask(server, make_model(openai, model="gone")))
    assert (code, "`gone` does not exist" in problem) == ("agent_misconfigured", True)
    widget = make_model(openai)
    openai.key = "another"
    code, problem = failure(await ask(server, widget))
    assert (code, "Incorrect API key" in problem) == ("agent_misconfigured", True)


async def test_a_server_that_is_down_and_comes_back(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.stop()
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        assert failure(answer) == (
            "agent_unavailable",
            "OpenAI-compatible cannot be reached",
        )
        openai.start()
        assert (await visitor.retry_and_wait(answer))["status"] == "completed"
