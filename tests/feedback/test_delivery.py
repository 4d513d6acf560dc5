"""A vote reaches raia, until raia holds exactly the visitor's last word."""

from chatwidget.models import Widget

from ..cast import make_widget
from ..server import Server
from ..simulators.faults import Stall
from ..simulators.raia import RaiaSimulator
from ..visitor import Visitor
from .conftest import delivery_of, raia_agent, settled


async def test_a_vote_arrives_with_its_question_and_answer(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Are you open?")
        given = await visitor.vote(answer, vote="up")
        assert given["delivery"] == "pending"
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    [held] = raia.feedbacks.values()
    assert (held.vote, held.question, held.answer) == ("up", "Are you open?", answer["text"])
    assert held.comment == ""
    [conversation] = raia.conversations.values()
    assert held.message_id == conversation.messages[-1].id
    assert held.user_id == conversation.user.id


async def test_reasons_travel_by_their_labels_before_the_comment(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    labels = {reason["key"]: reason["label"] for reason in widget.reasons_down}
    first, second = list(labels)[:2]
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="down", comment="Not for me", reasons=[first, second])
        await settled(visitor, answer)
    [held] = raia.feedbacks.values()
    assert held.vote == "down"
    assert held.comment == f"{labels[first]}, {labels[second]}\n\nNot for me"


async def test_a_change_of_mind_updates_the_same_feedback(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="down", comment="No")
        await settled(visitor, answer)
        [before] = raia.feedbacks.values()
        await visitor.vote(answer, vote="up")
        await settled(visitor, answer)
    [held] = raia.feedbacks.values()
    assert (held.id, held.vote, held.comment) == (before.id, "up", "")


async def test_a_comment_may_come_later(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="up")
        await settled(visitor, answer)
        await visitor.vote(answer, vote="up", comment="Very good")
        await settled(visitor, answer)
    [held] = raia.feedbacks.values()
    assert (held.vote, held.comment) == ("up", "Very good")
    assert len(raia.calls("feedback")) == 2


async def test_the_same_vote_again_is_not_sent_again(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="up")
        first = await settled(visitor, answer)
        assert await visitor.vote(answer, vote="up") == first
        other = await visitor.ask_and_wait("Hello again")
        await visitor.vote(other, vote="up")
        await settled(visitor, other)
    assert len(raia.calls("feedback")) == 2


async def test_the_last_of_ten_quick_votes_wins(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("feedback", Stall(0.1), Stall(0.1))
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        for number in range(10):
            vote = "up" if number % 2 else "down"
            await visitor.vote(answer, vote=vote, comment=f"Thought {number}")
        await settled(visitor, answer)
    [held] = raia.feedbacks.values()
    assert (held.vote, held.comment) == ("up", "Thought 9")
    assert delivery_of(answer).held_vote == "up"


async def test_clearing_cannot_be_said_and_the_operator_sees_what_raia_holds(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="down")
        await settled(visitor, answer)
        cleared = await visitor.vote(answer, vote=None)
        assert (cleared["vote"], cleared["delivery"]) == (None, "unsupported")
        assert "still holds down" in delivery_of(answer).problem
        await visitor.vote(answer, vote="down")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert len(raia.feedbacks) == 1


async def test_a_vote_cleared_while_it_is_sent_ends_unsupported(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("feedback", Stall())
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="up")
        await raia.eventually(lambda: raia.stalled == 1)
        cleared = await visitor.vote(answer, vote=None)
        assert cleared["delivery"] == "unsupported"
        async with visitor.socket(answer["conversation"]) as socket:
            raia.release()
            await socket.until(lambda frame: frame["type"] == "message")
    assert "still holds up" in delivery_of(answer).problem


async def test_a_vote_cleared_before_it_was_ever_sent_leaves_nothing_to_say(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        for _ in range(2):
            waiting = await visitor.vote(answer, vote=None, comment="By the way")
            assert waiting["delivery"] == "delivered"
            nothing = await visitor.vote(answer, vote=None)
            assert nothing["delivery"] == "delivered"
    assert raia.calls("feedback") == []


async def test_a_comment_waits_for_a_vote_and_goes_with_it(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        waiting = await visitor.vote(answer, vote=None, comment="By the way")
        assert waiting["delivery"] == "delivered", "it speaks of the vote, and there is none"
        assert "waits for a vote" in delivery_of(answer).problem
        assert delivery_of(answer).next_at is None
        await visitor.vote(answer, vote="up", comment="By the way")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    [call] = raia.calls("feedback")
    assert (call.json["voteType"], call.json["comment"]) == ("up", "By the way")


async def test_open_sockets_see_a_vote_and_its_arrival(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        async with visitor.socket(answer["conversation"]) as other_tab:
            await visitor.vote(answer, vote="up")
            for state in ("pending", "delivered"):
                frame = await other_tab.until(lambda frame: frame["type"] == "message")
                assert frame["message"]["feedback"]["delivery"] == state
        async with visitor.socket(answer["conversation"]) as reloaded:
            assert reloaded.messages[answer["id"]]["feedback"]["delivery"] == "delivered"


async def test_a_persons_reply_can_be_rated(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        [conversation] = raia.conversations
        raia.take_over(conversation)
        said = raia.human_says(conversation, "Robin here.")
        async with visitor.socket(answer["conversation"]) as socket:
            reply = await socket.until_message(lambda one: one["role"] == "human")
        assert reply["rateable"]
        await visitor.vote(reply, vote="up")
        assert (await settled(visitor, reply))["delivery"] == "delivered"
    [held] = raia.feedbacks.values()
    assert (held.message_id, held.answer) == (said.id, "Robin here.")


async def test_a_vote_can_name_the_question_where_an_agent_wants_that(
    server: Server, raia: RaiaSimulator
) -> None:
    raia.ripening, raia.odd.feedback_on_question = 0, True
    widget = make_widget(raia_agent(raia, feedback_message="question"))
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    [held] = raia.feedbacks.values()
    assert held.message_id == raia.sends[0].id
