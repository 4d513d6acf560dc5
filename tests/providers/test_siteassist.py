"""SiteAssist: streamed or whole, read back where it breaks off, rated as the visitor."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chatwidget.admin.conversations import upstream_ids
from chatwidget.connection_test import check_agent
from chatwidget.events import Learned
from chatwidget.models import Agent, Conversation, Erasure, Widget
from chatwidget.models import Visitor as VisitorRow
from chatwidget.providers.base import Ask, Setup
from chatwidget.providers.siteassist import SiteAssist

from ..feedback.conftest import delivery_of, settled
from ..server import Server
from ..simulators.base import Received
from ..simulators.faults import DropAfter, Fault, Html, Stall, Status
from ..simulators.siteassist import DOCUMENT, Refused, SiteAssistSimulator
from ..simulators.siteassist_project import Answer, Failure
from ..visitor import Socket, Visitor
from ..waiting import eventually
from .asking import ask, ask_again, failure, marked, row, set_options
from .cases.siteassist import SiteAssistCase

CASE = SiteAssistCase


@pytest.fixture
def siteassist(case: SiteAssistCase) -> SiteAssistSimulator:
    return case.simulator


def looks(siteassist: SiteAssistSimulator) -> list[Received]:
    """Reads of the messages, other than those for what a person has said."""
    return [one for one in siteassist.calls("list_messages") if "role" not in one.query]


# --- a turn ---------------------------------------------------------------------------------------


async def test_an_answer_streams_to_its_end(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    answer = await ask(server, widget)
    stored = siteassist.messages[-1]
    assert (answer["status"], answer["text"]) == ("completed", stored.text)
    assert row(answer).upstream_id == stored.id
    assert [one.operation for one in siteassist.requests] == ["init", "start", "send"]
    assert siteassist.calls("send")[0].json == {"content": "Are you open?", "stream": True}


async def test_a_second_question_goes_on_in_the_same_conversation_with_the_same_token(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Are you open?")
        second = await ask_again(visitor, first["conversation"], "And tomorrow?")
    assert second["text"] == siteassist.messages[-1].text
    assert len(siteassist.conversations) == len(siteassist.calls("init")) == 1
    assert [one.text for one in siteassist.sends] == ["Are you open?", "And tomorrow?"]


async def test_a_whole_answer_is_the_text_of_its_last_step(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    set_options(agent, streaming="no")
    siteassist.answer = lambda _: Answer(("One.", "Two."), links=(("Book", "https://b.example"),))
    answer = await ask(server, widget)
    assert (answer["status"], answer["text"]) == ("completed", "One.\n\nTwo.")
    assert answer["links"] == [{"title": "Book", "url": "https://b.example"}]
    assert row(answer).upstream_id == siteassist.messages[-1].id
    assert siteassist.calls("send")[0].json == {"content": "Are you open?", "stream": False}


async def test_a_whole_answer_without_steps_is_read_from_the_messages(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    set_options(agent, streaming="no")
    siteassist.empty_steps = True
    assert (await ask(server, widget))["text"] == siteassist.messages[-1].text


@pytest.mark.parametrize("named", ["absent", "another"])
async def test_an_answer_that_does_not_tell_its_id_is_looked_up(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, named: Any
) -> None:
    siteassist.odd.message_id = named
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("yes")
        second = await ask_again(visitor, first["conversation"], "yes")
    said = [one.id for one in siteassist.messages if one.role == "assistant"]
    assert [row(first).upstream_id, row(second).upstream_id] == said


async def test_the_id_is_looked_up_where_the_stream_is_not_to_be_trusted(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    set_options(agent, answer_id_from="list")
    assert row(await ask(server, widget)).upstream_id == siteassist.messages[-1].id
    assert len(looks(siteassist)) == 1


async def test_an_answer_whose_id_cannot_be_found_is_shown_and_cannot_be_rated(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.odd.message_id = "absent"
    siteassist.fail_always("list_messages", Status(500))
    answer = await ask(server, widget)
    assert answer["status"] == "completed"
    assert not answer["rateable"]


@pytest.mark.parametrize("interleaved", [False, True])
async def test_text_blocks_are_kept_apart_by_a_blank_line(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, interleaved: bool
) -> None:
    siteassist.odd.interleaved = interleaved
    siteassist.answer = lambda _: Answer(("The first of two blocks.", "And the second one."))
    assert (await ask(server, widget))["text"] == "The first of two blocks.\n\nAnd the second one."


@pytest.mark.parametrize("block_ids", ["items", "counted"])
async def test_text_blocks_of_several_steps_stay_apart_and_in_order_though_their_ids_repeat(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, block_ids: Any
) -> None:
    siteassist.odd.block_ids = block_ids
    siteassist.answer = lambda _: Answer(("We close at six.",), earlier=("Let me look.", "So:"))
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "When do you close?")
            answer = await socket.final(asked["answer"])
    assert answer["text"] == "Let me look.\n\nSo:\n\nWe close at six."
    assert answer["text"] == "".join(deltas(socket))  # so nothing that was shown was changed


async def test_reasoning_and_unknown_parts_are_passed_over(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.odd.reasoning, siteassist.odd.unknown = 1, True
    answer = await ask(server, widget)
    assert (answer["status"], answer["text"]) == ("completed", siteassist.messages[-1].text)


async def test_an_assistant_that_thinks_for_long_is_not_silent(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    set_options(agent, idle_s=0.4)
    siteassist.odd.reasoning, siteassist.gap_s = 10, 0.1
    siteassist.answer = lambda _: "Yes."
    assert (await ask(server, widget))["text"] == "Yes."
    assert looks(siteassist) == []


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("writes", ["whole", "odd", "bytewise"])
async def test_however_the_bytes_come_the_text_is_whole(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, writes: Any, newline: Any
) -> None:
    text = "Grüße! 👩‍👩‍👧 [Öffnungszeiten](https://x.example/ö) — **fett**, 漢字.\n\n- a\n- b"
    siteassist.odd.writes, siteassist.odd.newline = writes, newline
    siteassist.odd.unknown = True
    siteassist.answer = lambda _: text
    assert (await ask(server, widget))["text"] == text


@pytest.mark.parametrize("missing", ["done", "finish"])
async def test_one_of_finish_and_done_is_end_enough(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, missing: str
) -> None:
    setattr(siteassist.odd, missing, False)
    assert (await ask(server, widget))["status"] == "completed"
    assert looks(siteassist) == []


async def test_an_answer_that_the_filter_cut_is_no_answer(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.answer = lambda _: Answer(("Well,",), finish_reason="content-filter")
    assert failure(await ask(server, widget))[0] == "agent_rejected"


# --- content --------------------------------------------------------------------------------------

CITED = """\
It costs 5 € [1], see [the prices][2] or [3].

[1]: https://shop.example/a "Price list"
[2]: https://shop.example/b
[3]: javascript:alert(1) "Nothing good"
"""


@pytest.mark.parametrize("streaming", ["yes", "no"])
async def test_citations_are_listed_and_their_definitions_never_shown(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator, streaming: str
) -> None:
    set_options(agent, streaming=streaming)
    siteassist.answer = lambda _: CITED
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "How much?")
            answer = await socket.final(asked["answer"])
    assert answer["citations"] == [{"title": "Price list", "url": "https://shop.example/a"}]
    assert answer["text"] == (
        "It costs 5 € [1], see [the prices](<https://shop.example/b>) or [3].\n\n"
        '[3]: javascript:alert(1) "Nothing good"'
    )
    assert "Price list" not in "".join(deltas(socket))


def deltas(socket: Socket) -> list[str]:
    return [frame["text"] for frame in socket.frames if frame["type"] == "delta"]


@pytest.mark.parametrize("stored_link", [False, True])
async def test_a_link_action_is_a_button_if_it_leads_to_the_web(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, stored_link: bool
) -> None:
    siteassist.odd.stored_link = stored_link
    links = (("Book", "https://b.example"), ("Bad", "javascript:alert(1)"), ("", "https://c.test"))
    siteassist.answer = lambda _: Answer(("Here:", "Or call us."), links=links)
    answer = await ask(server, widget)
    assert answer["links"] == [{"title": "Book", "url": "https://b.example"}]
    assert answer["text"] == "Here:\n\nOr call us."


# --- visitors, tokens, websites -------------------------------------------------------------------


async def test_each_visitor_has_a_name_there_that_nobody_can_guess_or_see(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as one, Visitor(server.url, widget.key) as other:
        first = await one.ask_and_wait("Are you open?")
        await one.ask_and_wait("Again, elsewhere?")
        await other.ask_and_wait("Are you open?")
        seen: list[object] = [await one.messages(first["conversation"]), await one.enter()]
    mine, others = siteassist.visitors
    assert VisitorRow.objects.get(pk=one.id).upstream[str(widget.agent_id)] == {"sa_vid": mine}
    assert len(mine) == len(others) == 32
    assert one.id not in mine
    here = Conversation.objects.get(pk=first["conversation"])
    seen += upstream_ids(here, list(here.messages.all()))
    assert ("Conversation", "conversation", here.upstream["conversation"]) in seen
    assert mine not in str(seen) + server.log()


def test_two_first_questions_at_once_are_one_visitor() -> None:
    def named(visitor: str, key: str = "pk_1") -> str:
        adapter = SiteAssist(Setup(credentials={"publishable_key": key}))
        learned = next(adapter.answer(Ask(visitor=visitor, conversation="c", text="Hello?")))
        assert isinstance(learned, Learned)
        return learned.visitor["sa_vid"]

    assert named("one") == named("one")
    assert len({named("one"), named("other"), named("one", "pk_2")}) == 3


async def test_the_connection_test_shows_neither_token_nor_visitor(
    agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    steps = await check_agent(agent, rate=True)
    assert [one.outcome for one in steps] == ["passed"] * 6
    [sa_vid] = siteassist.visitors
    token = siteassist.calls("send")[0].headers["Authorization"].removeprefix("Bearer ")
    for secret in (sa_vid, token, siteassist.key):
        assert secret not in str(steps)
    assert siteassist.messages[-1].feedback == "like"


async def test_a_token_that_lapses_in_mid_conversation_is_renewed_once(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Are you open?")
        siteassist.lapse()
        second = await ask_again(visitor, first["conversation"])
    assert second["status"] == "completed"
    operations = [one.operation for one in siteassist.requests]
    assert operations == ["init", "start", "send", "send", "init", "send"]
    assert len(siteassist.visitors) == 1
    assert [one.text for one in siteassist.sends] == ["Are you open?", "And then?"]


async def test_a_token_that_is_never_good_is_not_asked_for_for_ever(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.fail_always("send", Refused(401, "no valid token"))
    assert failure(await ask(server, widget))[0] == "agent_misconfigured"
    operations = [one.operation for one in siteassist.requests]
    assert operations == ["init", "start", "send", "init", "send"]


async def test_a_revoked_key_is_told_to_the_operator_and_is_not_in_the_words(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    old, siteassist.key = siteassist.key, "pk_another"
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    assert "SiteAssist refuses the key (HTTP 401): no project has the key …" in words
    assert old not in words + server.log()
    await marked(agent, words)


async def test_a_key_bound_to_websites_is_used_in_the_name_of_one(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    siteassist.origins = ("https://www.shop.example",)
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    assert "this website is not allowed" in words
    assert "option Origin" in words
    set_options(agent, origin="https://www.shop.example/")
    answer = await ask(server, widget)
    assert answer["status"] == "completed"
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello?")
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    origins = {one.headers.get("Origin") for one in siteassist.requests[1:]}
    assert origins == {"https://www.shop.example"}


async def test_an_origin_that_is_no_address_is_told_before_anything_is_sent(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    set_options(agent, origin="shop.example\r\nX-Evil: 1")
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    assert "option Origin (origin) must be a website's address" in words
    assert siteassist.requests == []


# --- people ---------------------------------------------------------------------------------------


async def test_a_person_has_the_conversation_once_sending_says_so(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Are you open?")
        [there] = siteassist.conversations
        siteassist.take_over(there)
        answer = await ask_again(visitor, first["conversation"], "A person, please")
        assert (answer["status"], answer["text"]) == ("stopped", "")
        assert Conversation.objects.get(pk=first["conversation"]).mode == "human"
        async with visitor.socket(first["conversation"]) as socket:
            siteassist.human_says(there, "Robin here, see [this][1].\n\n[1]: https://r.example")
            siteassist.human_says(there, "How can I help?")
            await socket.until_message(lambda one: one["text"] == "How can I help?")
        reads = len(siteassist.calls("list_messages"))
        await siteassist.eventually(lambda: len(siteassist.calls("list_messages")) > reads + 2)
        said = [one for one in await visitor.messages(first["conversation"]) if one["text"]]
        assert [(one["role"], one["text"]) for one in said[-2:]] == [
            ("human", "Robin here, see [this](<https://r.example>)."),
            ("human", "How can I help?"),
        ]


@pytest.mark.parametrize("streaming", ["yes", "no"])
async def test_the_assistant_answers_again_once_it_is_handed_back(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator, streaming: str
) -> None:
    set_options(agent, streaming=streaming)
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Are you open?")
        [there] = siteassist.conversations
        siteassist.take_over(there)
        assert (await ask_again(visitor, first["conversation"]))["status"] == "stopped"
        siteassist.hand_back(there)
        answer = await ask_again(visitor, first["conversation"], "Robot, are you there?")
        assert (answer["status"], answer["text"]) == ("completed", siteassist.messages[-1].text)
        assert Conversation.objects.get(pk=first["conversation"]).mode == "agent"


async def test_a_person_may_speak_first(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Are you open?")
        [there] = siteassist.conversations
        async with visitor.socket(first["conversation"]) as socket:
            siteassist.take_over(there)
            said = siteassist.human_says(there, "May I help?")
            reply = await socket.until_message(lambda one: one["text"] == "May I help?")
            await visitor.vote(reply, vote="up")
            assert (await settled(visitor, reply))["delivery"] == "delivered"
    assert said.feedback == "like"


# --- what breaks off ------------------------------------------------------------------------------


async def test_an_error_after_some_text_fails_with_what_came(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.answer = lambda _: Failure("The model is full.", after=4)
    answer = await ask(server, widget)
    code, words = failure(answer)
    assert (code, words) == ("agent_unavailable", "SiteAssist broke off: The model is full.")
    assert answer["text"] == siteassist.messages[-1].text != ""
    assert len(siteassist.sends) == 1


async def test_an_error_in_place_of_a_whole_answer_fails(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    set_options(agent, streaming="no")
    siteassist.answer = lambda _: Failure(after=3)
    assert failure(await ask(server, widget)) == (
        "agent_unavailable",
        "SiteAssist says that the answer failed",
    )
    assert len(siteassist.sends) == 1


@pytest.mark.parametrize("message_id", ["uuid", "absent"])
@pytest.mark.parametrize("cut", ["eof", "mid_event", "reset", "abort"])
async def test_a_stream_that_is_cut_short_is_read_back(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, cut: Any, message_id: Any
) -> None:
    siteassist.odd.cut, siteassist.odd.cut_after = cut, 6
    siteassist.odd.message_id = message_id
    siteassist.answer = lambda _: Answer((CITED,), links=(("Book", "https://b.example"),))
    answer = await ask(server, widget)
    assert answer["status"] == "completed"
    assert answer["text"].startswith("It costs 5 € [1], see [the prices](<https://shop")
    assert [one["title"] for one in answer["citations"] + answer["links"]] == ["Price list", "Book"]
    assert row(answer).upstream_id == siteassist.messages[-1].id
    assert len(siteassist.sends) == 1


async def test_a_part_that_cannot_be_read_costs_nothing(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.odd.bad_json = True
    assert (await ask(server, widget))["text"] == siteassist.messages[-1].text
    assert len(siteassist.sends) == 1


async def test_a_cut_answer_is_waited_for_while_it_is_still_being_written(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.odd.cut_after, siteassist.stall_after = 6, 5
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Are you open?")
            await siteassist.eventually(lambda: len(looks(siteassist)) > 3)
            siteassist.release()
            answer = await socket.final(asked["answer"])
    assert (answer["status"], answer["text"]) == ("completed", siteassist.messages[-1].text)
    assert len(siteassist.sends) == 1


async def test_a_cut_answer_that_ended_as_an_error_there_fails_here(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.odd.cut_after = 6
    siteassist.answer = lambda _: Failure(after=8)
    answer = await ask(server, widget)
    assert failure(answer) == ("agent_unavailable", "SiteAssist says that the answer failed")
    assert answer["text"] == siteassist.messages[-1].text


@pytest.mark.parametrize("streaming", ["yes", "no"])
@pytest.mark.parametrize("lost", ["502", "502 for now", "drop"])
async def test_a_send_whose_answer_is_lost_is_read_back_and_not_repeated(
    server: Server,
    widget: Widget,
    agent: Agent,
    siteassist: SiteAssistSimulator,
    lost: Any,
    streaming: str,
) -> None:
    set_options(agent, streaming=streaming)
    siteassist.lost = lost
    answer = await ask(server, widget)
    assert (answer["status"], answer["text"]) == ("completed", siteassist.messages[-1].text)
    assert len(siteassist.sends) == len(siteassist.calls("send")) == 1


async def test_a_send_that_never_arrived_is_not_repeated_either(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.fail_next("send", Html(502))
    assert failure(await ask(server, widget)) == (
        "agent_unavailable",
        "HTTP 502 from SiteAssist",
    )
    assert siteassist.sends == []
    assert len(looks(siteassist)) == 3


async def test_a_message_for_a_person_whose_acknowledgement_is_lost_is_known_to_be_theirs(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Are you open?")
        [there] = siteassist.conversations
        siteassist.take_over(there)
        siteassist.fail_next("send", DropAfter())
        answer = await ask_again(visitor, first["conversation"], "A person, please")
    assert (answer["status"], answer["text"]) == ("stopped", "")
    assert len(siteassist.sends) == 2


async def test_an_earlier_answer_is_never_taken_for_that_of_the_same_words(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("yes")
        siteassist.fail_next("send", Html(502))
        second = await ask_again(visitor, first["conversation"], "yes")
    assert failure(second)[0] == "agent_unavailable"


async def test_a_stream_that_falls_silent_ends_by_the_deadline(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    set_options(agent, idle_s=0.3, total_s=1)
    siteassist.stall_after = 3
    answer = await ask(server, widget)
    assert failure(answer)[0] == "agent_timeout"
    assert answer["text"]
    assert len(siteassist.sends) == 1
    siteassist.release()


async def test_a_question_without_any_answer_is_not_waited_for_for_long(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    set_options(agent, idle_s=0.3)
    siteassist.fail_next("send", Stall())
    code, _ = failure(await ask(server, widget))
    assert code == "agent_timeout"
    assert len(siteassist.calls("send")) == 1
    siteassist.release()


@pytest.mark.parametrize("message_id", ["uuid", "absent"])
async def test_after_a_crash_the_answer_goes_on_without_a_second_send(
    widget: Widget, siteassist: SiteAssistSimulator, message_id: Any
) -> None:
    siteassist.odd.message_id = message_id
    with Server() as server:
        async with Visitor(server.url, widget.key) as visitor:
            first = await visitor.ask_and_wait("yes")
            siteassist.stall_after = 3
            async with visitor.socket(first["conversation"]) as socket:
                asked = await visitor.ask(first["conversation"], "yes")
                await socket.until(lambda frame: frame["type"] == "delta")
            server.kill()
            siteassist.release()
            server.start()
            async with visitor.socket(first["conversation"]) as socket:
                answer = await socket.final(asked["answer"])
    stored = siteassist.messages[-1]
    assert (answer["status"], answer["text"]) == ("completed", stored.text)
    assert row(answer).upstream_id == stored.id
    assert [one.text for one in siteassist.sends] == ["yes", "yes"]


async def test_a_crash_before_the_question_arrived_ends_openly(
    widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.fail_next("send", Stall())
    with Server() as server:
        async with Visitor(server.url, widget.key) as visitor:
            conversation = await visitor.conversation()
            asked = await visitor.ask(conversation, "Are you open?")
            await siteassist.eventually(lambda: siteassist.stalled)
            server.kill()
            server.start()
            async with visitor.socket(conversation) as socket:
                answer = await socket.final(asked["answer"])
    code, words = failure(answer)
    assert code == "agent_unavailable"
    assert words == "it is not known whether the question reached SiteAssist"
    assert len(siteassist.calls("send")) == 1


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["closed", "deleted", "another's"])
async def test_a_conversation_that_takes_no_more_is_followed_by_a_new_one(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, gone: str
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Are you open?")
        [there] = siteassist.conversations
        if gone == "closed":
            siteassist.close(there)
        elif gone == "deleted":
            with siteassist.changing():
                del siteassist.conversations[there]
        else:
            siteassist.conversations[there].visitor = "somebody else"
        second = await ask_again(visitor, first["conversation"])
        third = await ask_again(visitor, first["conversation"], "And later?")
    assert (second["status"], third["status"]) == ("completed", "completed")
    assert [one.text for one in siteassist.sends] == ["Are you open?", "And then?", "And later?"]
    new = list(siteassist.conversations)[-1]
    assert Conversation.objects.get(pk=first["conversation"]).upstream["conversation"] == new
    assert siteassist.sends[1].conversation == siteassist.sends[2].conversation == new


@pytest.mark.parametrize("status", [400, 422])
async def test_an_id_that_another_vendor_gave_is_followed_by_a_new_conversation(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, status: int
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Are you open?")
        here = Conversation.objects.filter(pk=first["conversation"])
        here.update(upstream={"conversation": "conv_68a1b2c3"})
        for operation in ("send", "get_conversation"):
            siteassist.fail_next(operation, Refused(status, "conversationId is not a uuid"))
        second = await ask_again(visitor, first["conversation"])
    assert second["status"] == "completed"
    assert here.get().upstream["conversation"] == list(siteassist.conversations)[-1]
    assert [one.text for one in siteassist.sends] == ["Are you open?", "And then?"]


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_a_refused_question_is_the_visitors_to_change(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, status: int
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Are you open?")
        siteassist.fail_next("send", Refused(status, "«And then?» is not acceptable"))
        code, words = failure(await ask_again(visitor, first["conversation"]))
    assert code == "agent_rejected"
    assert f"HTTP {status}" in words
    assert "And then?" not in words
    assert len(siteassist.conversations) == len(siteassist.sends) == 1


async def test_a_plan_that_lacks_something_is_told_to_the_operator(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    siteassist.fail_next("send", Refused(402, "not part of this plan"))
    code, words = failure(await ask(server, widget))
    assert code == "agent_misconfigured"
    assert "not part of this plan" in words
    assert "it has free, it needs pro, for advanced_ai_models" in words
    await marked(agent, words)
    assert len(siteassist.calls("send")) == 1


@pytest.mark.parametrize(
    "fault", [Refused(429), Refused(503), Refused(503, retryAfter=10**400)], ids=["429", "503", "∞"]
)
async def test_a_busy_vendor_is_left_alone(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, fault: Fault
) -> None:
    siteassist.fail_always("send", fault)
    assert failure(await ask(server, widget))[0] == "agent_unavailable"
    assert [one.operation for one in siteassist.requests] == ["init", "start", "send"]


# --- feedback -------------------------------------------------------------------------------------


async def test_a_vote_is_set_changed_and_removed_by_null(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Are you open?")
        for vote, held in (("up", "like"), ("down", "dislike"), (None, None)):
            await visitor.vote(answer, vote=vote)
            assert (await settled(visitor, answer))["delivery"] == "delivered"
            assert siteassist.messages[-1].feedback == held
    assert siteassist.calls("feedback")[-1].body == b'{"feedback":null}'
    assert len(siteassist.calls("feedback")) == 3


async def test_a_vote_is_brought_in_the_name_of_its_visitor_also_with_a_lapsed_token(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as one, Visitor(server.url, widget.key) as other:
        mine = await one.ask_and_wait("Are you open?")
        others = await other.ask_and_wait("Are you open?")
        siteassist.lapse()
        await one.vote(mine, vote="up")
        assert (await settled(one, mine))["delivery"] == "delivered"
        await other.vote(others, vote="down")
        assert (await settled(other, others))["delivery"] == "delivered"
    said = [one.feedback for one in siteassist.messages if one.role == "assistant"]
    assert said == ["like", "dislike"]
    assert len(siteassist.visitors) == 2


async def test_a_comment_stays_here_and_costs_no_call(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Are you open?")
        alone = await visitor.vote(answer, vote=None, comment="Hm.")
        assert alone["delivery"] != "pending"
        assert siteassist.calls("feedback") == []
        await visitor.vote(answer, vote="down", comment="Wrong hours")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
        said = await visitor.vote(answer, vote="down", comment="Wrong hours, and rude")
        assert (said["delivery"], said["comment"]) == ("delivered", "Wrong hours, and rude")
        await visitor.vote(answer, vote="up", comment="Wrong hours, and rude")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    bodies = [one.json for one in siteassist.calls("feedback")]
    assert bodies == [{"feedback": "dislike"}, {"feedback": "like"}]


async def test_a_comment_while_its_vote_is_on_the_way_changes_nothing_about_that(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.fail_next("feedback", Stall())
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Are you open?")
        await visitor.vote(answer, vote="down")
        await siteassist.eventually(lambda: siteassist.stalled)
        said = await visitor.vote(answer, vote="down", comment="Wrong hours")
        assert said["delivery"] == "pending"
        siteassist.release()
        settled_as = await settled(visitor, answer)
        assert (settled_as["delivery"], settled_as["comment"]) == ("delivered", "Wrong hours")
    assert delivery_of(answer).next_at is None
    assert len(siteassist.calls("feedback")) == 1


async def test_a_busy_vendor_gets_the_vote_when_it_asks_for_it(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    siteassist.fail_next("feedback", Refused(429, retryAfter=0.4))
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Are you open?")
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    first, second = siteassist.calls("feedback")
    assert second.at - first.at >= 0.4


async def test_a_vote_that_is_refused_is_kept_and_shown(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Are you open?")
        siteassist.fail_next("feedback", Refused(404))
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "failed"
    assert "HTTP 404 CONVERSATION_NOT_FOUND" in delivery_of(answer).problem


# --- the simulator --------------------------------------------------------------------------------


def test_the_document_is_whole() -> None:
    operations = {(one.method, one.template) for one in DOCUMENT.operations}
    assert len(operations) == 9
    for operation in DOCUMENT.operations:
        DOCUMENT.request_problems(operation, {}, {}, b"")
    assert DOCUMENT.dangling == set()


# --- forgetting -----------------------------------------------------------------------------------


def open_ones(siteassist: SiteAssistSimulator) -> list[str]:
    return [one.id for one in siteassist.conversations.values() if one.status == "open"]


async def test_an_erased_visitors_conversations_are_closed_and_nobody_elses(
    server: Server, widget: Widget, agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as other, Visitor(server.url, widget.key) as visitor:
        await other.ask_and_wait("I stay")
        kept = open_ones(siteassist)
        await visitor.ask_and_wait("Are you open?")
        await visitor.ask_and_wait("And tomorrow?")
        with siteassist.changing():  # more than one list holds
            sa_vid = siteassist.conversations[open_ones(siteassist)[-1]].visitor
            for _ in range(100):
                siteassist.converse(sa_vid)
        await visitor.call("DELETE", "/visitor", expect=204)
        await siteassist.eventually(lambda: open_ones(siteassist) == kept)
    await eventually(lambda: not Erasure.objects.filter(agent=agent).exists())


async def test_a_conversation_past_its_retention_is_closed_alone(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    widget.retention_days = 30
    widget.save()
    async with Visitor(server.url, widget.key) as visitor:
        old = await visitor.ask_and_wait("Long ago")
        await visitor.ask_and_wait("Just now")
    gone, kept = open_ones(siteassist)
    server.stop()
    past = timezone.now() - timedelta(days=31)
    Conversation.objects.filter(pk=old["conversation"]).update(updated_at=past)
    server.start()
    await siteassist.eventually(lambda: open_ones(siteassist) == [kept])
    assert siteassist.conversations[gone].status == "closed"
    assert not Conversation.objects.filter(pk=old["conversation"]).exists()


async def test_what_the_connection_test_began_is_closed(
    agent: Agent, siteassist: SiteAssistSimulator
) -> None:
    steps = await check_agent(agent)
    assert steps[-1].note == "The test's conversation was closed at the vendor."
    assert open_ones(siteassist) == []
