"""Three times as many ask as an agent can answer at once."""

import asyncio
import re
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from chatwidget.models import Widget

from ..server import Server
from ..simulators.openai import OpenAISimulator
from ..visitor import FINAL, JSON, Socket, Visitor
from .report import Report, percentile, sized

TOKEN = re.compile(r"\d+@([\d.]+) ")
PER_S = 10
"""Tokens a second of each answer."""
ARRIVE_S = 4.0
"""All have asked by then, and an answer takes longer than that."""
ANSWER_S = 8.0


@dataclass
class Found:
    """What visitors saw, in seconds."""

    refused: list[float] = field(default_factory=list)
    """From asking to being told that many ask."""
    queued: list[float] = field(default_factory=list)
    """From asking to the pending answer."""
    delays: list[float] = field(default_factory=list)
    """From a token's stamp to its arrival."""
    answers: list[JSON] = field(default_factory=list)


async def ask(visitor: Visitor, conversation: str, found: Found) -> JSON:
    """Ask as the widget does: again after the time that a refusal names."""
    body = {"id": conversation, "text": "Hello"}  # any id that is one's own
    while True:
        started = time.monotonic()
        path = f"{visitor.base}/api/v1/conversations/{conversation}/messages"
        response = await visitor.http.post(path, json=body)
        seconds = time.monotonic() - started
        if response.status_code == 201:
            found.queued.append(seconds)
            answer: JSON = response.json()["answer"]
            return answer
        refusal = response.json()
        assert (refusal["code"], refusal["reason"]) == ("rate_limited", "busy"), response.text
        found.refused.append(seconds)
        await asyncio.sleep(refusal["retry_after"])


async def watch(socket: Socket, answer: JSON, found: Found) -> None:
    """Receive the answer to its end, and note how late each token was."""
    seen = 0
    while True:
        message = socket.messages.get(answer["id"], answer)
        now, stamps = time.monotonic(), TOKEN.findall(message["text"])
        found.delays += [now - float(stamp) for stamp in stamps[seen:]]
        seen = len(stamps)
        if message["status"] in FINAL:
            found.answers.append(message)
            return
        await socket.next()


async def ask_all(visitors: list[Visitor], within_s: float) -> Found:
    """Have all of them ask within this time, each in a new conversation."""
    found = Found()
    async with AsyncExitStack() as stack:
        tabs: list[tuple[Visitor, str, Socket]] = []
        for visitor in visitors:
            conversation = await visitor.conversation()
            socket = await stack.enter_async_context(visitor.socket(conversation))
            tabs.append((visitor, conversation, socket))

        async def one(number: int, visitor: Visitor, conversation: str, socket: Socket) -> None:
            await asyncio.sleep(within_s * number / len(tabs))
            asking = asyncio.create_task(ask(visitor, conversation, found))
            await watch(socket, await asking, found)

        await asyncio.gather(*(one(number, *tab) for number, tab in enumerate(tabs)))
    return found


@sized("limit", gate=6, full=60)
async def test_at_three_times_the_load_visitors_are_told_and_the_others_are_answered(
    server: Server, at_openai: Widget, openai: OpenAISimulator, report: Report, limit: int
) -> None:
    """H4: busy within 1 s, the admitted within twice the p99, well again within 10 s."""
    pace = 1.0 if limit >= 60 else 0.4
    answer_s, arrive_s = ANSWER_S * pace, ARRIVE_S * pace
    openai.stamped, openai.rate = True, PER_S
    openai.tokens = ["?"] * int(answer_s * PER_S)
    agent = at_openai.agent
    agent.answers_at_once = limit
    agent.save()
    async with AsyncExitStack() as stack:
        visitors = [
            await stack.enter_async_context(Visitor(server.url, at_openai.key))
            for _ in range(3 * limit)
        ]
        alone = await ask_all(visitors[:limit], arrive_s)
        crowd = await ask_all(visitors, arrive_s)
        started = time.monotonic()
        after = await ask_all(visitors[:1], arrive_s)
        recovered = time.monotonic() - started - answer_s
    report.tell("asked at once", 3 * limit)
    report.tell("answered at once", limit)
    report.tell("told that many ask", len(crowd.refused))
    report.tell_times("until told so", crowd.refused)
    report.tell_times("until stored", crowd.queued)
    report.tell_times("tokens' delay alone", alone.delays)
    report.tell_times("tokens' delay in the crowd", crowd.delays)
    report.tell("seconds to be well again", round(recovered, 2))
    ended = [one["status"] for one in (*alone.answers, *crowd.answers, *after.answers)]
    assert ended == ["completed"] * (4 * limit + 1)
    assert not alone.refused
    assert len(crowd.refused) >= limit, "a third of them could neither be answered nor wait"
    assert recovered < 10
    if limit >= 60:
        assert percentile(crowd.refused, 99) <= 1
        assert percentile(crowd.delays, 99) <= 2 * percentile(alone.delays, 99)
