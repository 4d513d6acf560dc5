"""A question goes upstream once: whoever sends it how often, whichever process runs it, dies or
freezes, and whatever became of the first attempt.
"""

import asyncio
import os
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from random import Random

import pytest
from django.db import connection, transaction
from django.utils import timezone

from chatwidget.admission import Room, Waiting
from chatwidget.claims import take
from chatwidget.models import Conversation, Message, Role, Status

from ..cast import add_message, make_conversation
from ..providers.cases import CASES
from ..server import Server
from ..simulators.faults import Stall
from ..visitor import JSON, Visitor
from ..waiting import eventually
from .report import Report, sized
from .vendors import TEXT, Vendor, vendor


@pytest.fixture
def vendors() -> Iterator[list[Vendor]]:
    """Every vendor there is."""
    with ExitStack() as stack:
        yield [stack.enter_context(vendor(provider)) for provider in CASES]


def make_pending(conversation: Conversation, text: str = "Hello") -> Message:
    """Store a question and its answer as a process leaves them that dies right after."""
    question = add_message(conversation, text, completed_at=timezone.now())
    return add_message(
        conversation,
        "",
        role=Role.AGENT,
        status=Status.PENDING,
        question=question,
        agent=conversation.agent,
        widget=conversation.visitor.widget,
        visitor=conversation.visitor,
    )


# --- sent again by the visitor's client -----------------------------------------------------------


async def race(visitors: list[Visitor], text: str, random: Random) -> str:
    """Send one message several times at once, sometimes once with another text.

    Returns the text that won.
    """
    conversation = await visitors[0].conversation()
    path = f"/conversations/{conversation}/messages"
    texts = [text] * random.randint(2, 10)
    if random.random() < 0.3:
        texts[random.randrange(len(texts))] = f"Not {text}"
    message = str(uuid.uuid4())
    answers = await asyncio.gather(
        *(
            random.choice(visitors).http.post(path, json={"id": message, "text": one})
            for one in texts
        )
    )
    [made] = [one.json() for one in answers if one.status_code == 201]
    won: str = made["question"]["text"]
    for sent, answer in zip(texts, answers, strict=True):
        if sent != won:
            assert (answer.status_code, answer.json()["code"]) == (409, "message_id_reused")
            continue
        assert answer.status_code in (200, 201), answer.text
        assert answer.json()["question"]["id"] == message
        assert answer.json()["answer"]["id"] == made["answer"]["id"]
    refused = await visitors[0].ask(conversation, f"Never {text}", id=message, expect=409)
    assert refused["code"] == "message_id_reused"
    return won


@sized("races", gate=50, full=1000)
async def test_identical_sends_are_one_question(
    server: Server, vendors: list[Vendor], report: Report, races: int
) -> None:
    """C1: a message sent 2 to 10 times at once, to two processes, goes upstream once."""
    won: dict[str, list[str]] = {one.provider: [] for one in vendors}

    async def take_part(at: Vendor, second: Server) -> None:
        key = at.widget.key
        async with (
            Visitor(server.url, key) as visitor,
            Visitor(second.url, key, token=visitor.token) as again,
        ):
            for number in range(races // len(vendors)):
                text = f"Race {number} at {at.provider}"
                won[at.provider].append(await race([visitor, again], text, report.random))

    with Server(EMBEDDED_WORKER="false") as second:
        await asyncio.gather(*(take_part(one, second) for one in vendors))
        await eventually(lambda: not any(one.open_answers() for one in vendors), timeout_s=60)
    for one in vendors:
        assert Counter(one.case.questions()) == Counter(won[one.provider])
        assert one.sends() == len(won[one.provider])
        answers = Message.objects.filter(
            conversation__agent=one.widget.agent_id, role=Role.AGENT
        ).values_list("status", "text")
        assert Counter(answers) == {("completed", TEXT): len(won[one.provider])}
    report.tell("races", sum(map(len, won.values())))
    report.tell("upstream posts", sum(one.sends() for one in vendors))


# --- one process at a time ------------------------------------------------------------------------


@sized("rounds", gate=50, full=1000)
def test_of_many_who_claim_an_answer_one_has_it(report: Report, rounds: int) -> None:
    """C1: eight claim each answer at the same moment; one gets it."""
    conversations = [make_conversation() for _ in range(rounds)]
    answers: list[Message] = []
    winners: Counter[uuid.UUID] = Counter()
    # Each answer is made when all are there: else a sweep of the server would be quicker.
    together = threading.Barrier(8, lambda: answers.append(make_pending(conversations.pop())))

    def take_part() -> None:
        for _ in range(rounds):
            together.wait(timeout=30)
            with transaction.atomic():
                taken = take([Waiting.of(answers[-1])], Room(places=1, share=1, held=Counter()))
            if taken.verdicts:
                winners[answers[-1].pk] += 1
        connection.close()

    threads = [threading.Thread(target=take_part) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.tell("answers", len(answers))
    report.tell("claimed by one", len(winners))
    assert set(winners.values()) == {1}
    assert len(winners) > rounds / 2


async def test_a_process_that_was_frozen_changes_nothing_any_more(server: Server) -> None:
    """Its lease lapsed while it stood still, and another has finished its answer."""
    with vendor("raia") as raia, Server(EMBEDDED_WORKER="false", LEASE_S="1") as frozen:
        raia.case.hold()
        async with Visitor(frozen.url, raia.widget.key) as visitor:
            conversation = await visitor.conversation()
            asked = await visitor.ask(conversation, "Hello")
            await raia.case.simulator.eventually(raia.receives)
            os.kill(frozen.pid, signal.SIGSTOP)
            try:
                raia.case.release()
                async with Visitor(server.url, raia.widget.key, token=visitor.token) as other:
                    answer = await final(other, asked["answer"])
            finally:
                os.kill(frozen.pid, signal.SIGCONT)
            assert (answer["status"], answer["text"]) == ("completed", TEXT)
            await eventually(lambda: "was taken over" in frozen.log())
            assert (await visitor.messages(conversation))[-1] == answer
        assert raia.sends() == 1


# --- a time-out is not "not sent" -----------------------------------------------------------------

SHORT = {"idle_s": 0.5, "total_s": 1.0, "connect_s": 0.5}


async def test_a_question_whose_fate_is_unknown_is_never_sent_again_by_itself() -> None:
    """C2: shown as it is; not sent again by a sweep or a restart, only when the visitor asks."""
    with ExitStack() as stack, Server(LEASE_S="1") as server:
        vendors = [stack.enter_context(vendor(provider, **SHORT)) for provider in CASES]
        async with AsyncExitStack() as visitors:
            for one in vendors:
                one.case.simulator.fail_next(one.case.operations["send"], Stall())
            asked = {
                one.provider: await ask(
                    await visitors.enter_async_context(Visitor(server.url, one.widget.key))
                )
                for one in vendors
            }
            ended = {provider: await final(*pair) for provider, pair in asked.items()}
            for answer in ended.values():
                assert (answer["status"], answer["text"]) == ("failed", "")
                assert answer["error"]["code"] == "agent_timeout"
            server.kill()
            server.start()
            await swept()
            assert {one.provider: one.sends() for one in vendors} == dict.fromkeys(ended, 1)
            for provider, (visitor, answer) in asked.items():
                assert await final(visitor, answer) == ended[provider]
            for visitor, answer in asked.values():
                again = await visitor.call("POST", f"/messages/{answer['id']}/retry", expect=201)
                assert (await final(visitor, again["answer"]))["text"] == TEXT
            assert {one.provider: one.sends() for one in vendors} == dict.fromkeys(ended, 2)


async def ask(visitor: Visitor) -> tuple[Visitor, JSON]:
    asked = await visitor.ask(await visitor.conversation(), "Hello")
    answer: JSON = asked["answer"]
    return visitor, answer


async def final(visitor: Visitor, answer: JSON) -> JSON:
    async with visitor.socket(answer["conversation"]) as socket:
        return await socket.final(answer)


async def swept() -> None:
    """Wait until a sweep has looked for answers that nobody has: it found this one."""
    left = make_pending(make_conversation())
    await eventually(lambda: Message.objects.get(pk=left.pk).status == Status.COMPLETED)
