"""What the votes' tests share: agents at a simulated vendor, and an answer to vote on."""

from collections.abc import Iterator
from typing import Any

import pytest

from chatwidget.models import Agent, Widget
from feedback.models import Delivery

from ..cast import make_agent, make_widget
from ..server import Server
from ..simulators.raia import RaiaSimulator
from ..visitor import JSON, Visitor
from .receivers import MailServer, Receiver

FAST = {"poll_s": 0.02}


def raia_agent(raia: RaiaSimulator, **options: object) -> Agent:
    """Make an agent at the simulator that is polled quickly."""
    return make_agent(
        "At raia",
        "raia",
        base_url=raia.url,
        credentials={"secret_key": raia.key},
        options=FAST | options,
    )


@pytest.fixture
def widget(raia: RaiaSimulator) -> Widget:
    raia.ripening = 0
    return make_widget(raia_agent(raia))


@pytest.fixture(scope="module")
def web(server: Server) -> Iterator[Server]:
    """The server, without background work of its own: these tests start workers."""
    server.stop()
    server.env["EMBEDDED_WORKER"] = "false"
    yield server.start()
    server.stop()
    del server.env["EMBEDDED_WORKER"]
    server.start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
        assert receiver.violations == []


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    with MailServer() as mail:
        settings.EMAIL_URL = mail.url
        yield mail


def delivery_of(message: JSON) -> Delivery:
    """Return the delivery of the vote on a message, as it is stored now."""
    return Delivery.objects.get(feedback__message=message["id"])


async def settled(visitor: Visitor, message: JSON, *, timeout_s: float = 10) -> JSON:
    """Wait until the newest vote on a message is no longer on its way; return its feedback."""
    async with visitor.socket(message["conversation"]) as socket:
        shown = await socket.until_message(
            lambda one: (
                one["id"] == message["id"]
                and bool(one["feedback"])
                and one["feedback"]["delivery"] != "pending"
            ),
            timeout_s=timeout_s,
        )
    feedback: JSON = shown["feedback"]
    return feedback
