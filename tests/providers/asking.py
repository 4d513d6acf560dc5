"""What a vendor's tests do with its agent: set it up, ask it, see how that ended."""

from typing import Any

from chatwidget.models import Agent, Message, Widget

from ..server import Server
from ..visitor import JSON, Visitor
from ..waiting import eventually

QUESTION = "Are you open?"


def set_options(agent: Agent, **options: Any) -> None:
    agent.options |= options
    agent.save()


async def ask(server: Server, widget: Widget, text: str = QUESTION) -> JSON:
    """Ask as a new visitor. Returns the answer at its end."""
    async with Visitor(server.url, widget.key) as visitor:
        return await visitor.ask_and_wait(text)


async def ask_again(visitor: Visitor, conversation: str, text: str = "And then?") -> JSON:
    """Ask in a conversation that has begun. Returns the answer at its end."""
    async with visitor.socket(conversation) as socket:
        asked = await visitor.ask(conversation, text)
        return await socket.final(asked["answer"])


def row(answer: JSON) -> Message:
    """Return the answer as it is stored."""
    return Message.objects.get(pk=answer["id"])


def completed(answer: JSON) -> str:
    """Return the text of an answer that came to its end."""
    assert answer["status"] == "completed", row(answer).problem
    return str(answer["text"])


def failure(answer: JSON) -> tuple[str, str]:
    """Return the visitor's code and the operator's words of an answer that failed."""
    assert answer["status"] == "failed", answer
    return answer["error"]["code"], row(answer).problem


async def marked(agent: Agent, words: str) -> None:
    """Wait until the operator sees these words beside the agent; they come after the answer."""
    await eventually(lambda: Agent.objects.get(pk=agent.pk).problem == words)
