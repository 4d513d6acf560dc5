"""Visitors who are gone a moment after they asked: no answer hangs, nothing is asked twice."""

import asyncio
import json
import random
import uuid
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from chatwidget.models import Message, Role, Status, Widget

from ..server import Server
from ..simulators.openai import OpenAISimulator
from ..simulators.raia import RaiaSimulator
from ..visitor import Visitor
from ..waiting import eventually
from .load import Tab, insist, reset
from .report import Report, sized

AT_ONCE = 20
GONE_WITHIN_S = 0.05
DEADLINE_S = 60.0


@dataclass
class Leaver:
    """What one visitor asked, and whether they came back to ask again with the same id."""

    text: str
    question: str
    returned: bool = False


async def ask_and_vanish(visitor: Visitor, path: str, body: dict[str, str], after_s: float) -> None:
    """Send the question and reset the connection, whatever has become of it by then."""
    address = urlsplit(visitor.base)
    assert address.hostname is not None
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    content = json.dumps(body).encode()
    head = (
        f"POST /api/v1{path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {visitor.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    await asyncio.sleep(after_s)
    reset(writer.transport)


@sized("leavers", gate=50, full=500)
async def test_nobody_who_leaves_at_once_leaves_a_hanging_or_double_question(
    server: Server,
    at_openai: Widget,
    openai: OpenAISimulator,
    at_raia: Widget,
    raia: RaiaSimulator,
    report: Report,
    leavers: int,
) -> None:
    """Disconnects 0 to 50 ms after a question: all answers end, nothing goes upstream twice"""
    openai.rate = 50
    doorway = asyncio.Semaphore(AT_ONCE)
    gone: list[Leaver] = []

    async def come_and_go(number: int) -> None:
        rng = random.Random(f"{report.seed} {number}")
        leaver = Leaver(text=f"Question {number}", question=str(uuid.uuid4()))
        gone.append(leaver)
        body = {"id": leaver.question, "text": leaver.text}
        widget = at_raia if number % 2 else at_openai
        async with doorway, Visitor(server.url, widget.key) as visitor:
            conversation = await visitor.conversation()
            path = f"/conversations/{conversation}/messages"
            async with Tab(visitor, conversation) as tab:
                after_s = rng.uniform(0, GONE_WITHIN_S)
                await ask_and_vanish(visitor, path, body, after_s)
                tab.cut()
            if rng.random() < 0.5:
                leaver.returned = True
                async with Tab(visitor, conversation) as tab:
                    asked = await insist(visitor, "POST", path, body)
                    answer = await tab.until_ended(asked["answer"]["id"])
                    assert answer["status"] == "completed"

    async with asyncio.TaskGroup() as group:
        for number in range(leavers):
            group.create_task(come_and_go(number))

    questions = Message.objects.filter(pk__in=[leaver.question for leaver in gone])
    answers = Message.objects.filter(question__in=questions, role=Role.AGENT)
    await eventually(
        lambda: not answers.exclude(status=Status.COMPLETED).exists(), timeout_s=DEADLINE_S
    )
    stored = {str(question.pk): question for question in questions}
    upstream = Counter(body["messages"][-1]["content"] for body in openai.sends)
    upstream += Counter(message.text for message in raia.sends)
    report.tell("disconnects", len(gone))
    report.tell("came back and asked again", sum(leaver.returned for leaver in gone))
    report.tell("questions that had arrived or were sent again", len(stored))
    report.tell("answers that hang", answers.exclude(status=Status.COMPLETED).count())
    report.tell("sent upstream twice", sum(count > 1 for count in upstream.values()))
    assert len(gone) == leavers
    assert answers.count() == len(stored)
    for leaver in gone:
        assert leaver.question in stored or not leaver.returned
        assert upstream[leaver.text] == (leaver.question in stored)
