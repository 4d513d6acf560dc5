"""The rules that every client may rely on, under cuts, gaps and crowds."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import websockets

from chatwidget.models import OPEN, Message, Widget

from ..server import ONE_PROCESS, Server
from ..simulators.openai import OpenAISimulator
from ..visitor import FINAL, JSON, Socket, Visitor
from ..waiting import eventually
from .contract import CheckedVisitor

TOKENS = [f"{n}, " for n in range(200)]


@asynccontextmanager
async def abrupt_socket(visitor: Visitor, conversation: str) -> AsyncIterator[Socket]:
    """A tab that ends without a goodbye, as a lost network does."""
    address = visitor.base.replace("http", "ws", 1) + "/ws/v1/"
    connection = await websockets.connect(address, compression=None, proxy=None)
    try:
        socket = Socket(connection, visitor.token or "")
        await socket.hello(conversation)
        yield socket
    finally:
        connection.transport.abort()


def follow(frames: list[JSON], message: str) -> str:
    """Apply frames as rule 2 says, strictly: every delta must be the next one. Returns the text."""
    text, seq = "", -1
    for frame in frames:
        match frame["type"]:
            case "ready":
                held = {one["id"]: one for one in frame["messages"]}.get(message)
                text, seq = (held["text"], held["seq"]) if held else (text, seq)
            case "message" if frame["message"]["id"] == message:
                text, seq = frame["message"]["text"], frame["message"]["seq"]
            case "delta" if frame["message_id"] == message:
                assert frame["seq"] == seq + 1, f"{frame['seq']} after {seq}"
                text, seq = text + frame["text"], frame["seq"]
    return text


async def test_state_then_changes_however_often_it_is_asked_for(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = TOKENS, 200
    conversation = await mia.conversation()
    async with mia.socket(conversation) as socket:
        asked = await mia.ask(conversation, "Hello")

        async def sync_always() -> None:
            while True:
                await socket.send({"type": "sync", "conversation": conversation})
                await asyncio.sleep(0.002)

        syncing = asyncio.create_task(sync_always())
        answer = await socket.final(asked["answer"])
        syncing.cancel()
    assert [frame["type"] for frame in socket.frames].count("ready") > 10
    assert follow(socket.frames, answer["id"]) == answer["text"] == "".join(TOKENS)


async def test_every_hello_during_a_stream_is_followed_without_a_gap(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = TOKENS, 200
    conversation = await mia.conversation()
    asked = await mia.ask(conversation, "Hello")

    async def one_tab(wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        async with mia.socket(conversation) as socket:
            answer = await socket.final(asked["answer"])
        assert follow(socket.frames, answer["id"]) == answer["text"] == "".join(TOKENS)

    await asyncio.gather(*(one_tab(n / 50) for n in range(50)))


async def test_a_client_that_is_cut_anywhere_ends_with_the_servers_text(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = TOKENS, 40  # slow enough for many cuts on a busy machine
    conversation = await mia.conversation()
    asked = await mia.ask(conversation, "Hello")
    dice = random.Random(20261121)
    frames: list[JSON] = []
    cuts = 0
    while not (frames and ended(frames[-1], asked["answer"])):
        async with abrupt_socket(mia, conversation) as socket:
            for _ in range(dice.randrange(1, 8)):
                if ended(socket.frames[-1], asked["answer"]):
                    break
                await socket.next()
            frames += socket.frames
            cuts += 1
    assert cuts > 10
    assert follow(frames, asked["answer"]["id"]) == "".join(TOKENS)


def ended(frame: JSON, answer: JSON) -> bool:
    messages = frame["messages"] if frame["type"] == "ready" else [frame.get("message")]
    return any(
        one and one["id"] == answer["id"] and one["status"] == "completed" for one in messages
    )


async def test_an_answer_of_200_deltas_cut_after_every_one(
    model: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.odd.stall_after = TOKENS, 0
    with Server(DELTA_WINDOW_S="0") as unmerged:
        async with Visitor(unmerged.url, model.key) as visitor:
            conversation = await visitor.conversation()
            asked = await visitor.ask(conversation, "Hello")
            for number in range(200):
                async with abrupt_socket(visitor, conversation) as socket:
                    assert socket.messages[asked["answer"]["id"]]["seq"] == number
                    await openai.eventually(lambda: openai.stalled == 1)
                    openai.odd.stall_after = number + 1
                    openai.release()
                    delta = await socket.until(lambda frame: frame["type"] == "delta")
                    assert (delta["seq"], delta["text"]) == (number + 1, TOKENS[number])
            async with visitor.socket(conversation) as socket:
                answer = await socket.final(asked["answer"])
            assert (answer["text"], answer["seq"]) == ("".join(TOKENS), 200)


async def test_a_hundred_instant_disconnects_leave_nothing_open(
    server: Server, model: Widget, openai: OpenAISimulator
) -> None:
    dice = random.Random(20261121)

    async def leave_at_once(visitor: Visitor, number: int) -> None:
        conversation = await visitor.conversation()
        body = {"id": str(uuid.uuid4()), "text": f"{number}"}
        path = f"/conversations/{conversation}/messages"
        async with abrupt_socket(visitor, conversation):
            sending = asyncio.create_task(visitor.http.post(path, json=body))
            if number % 2:
                await sending
            await asyncio.sleep(dice.uniform(0, 0.05))  # the fault itself, not a wait
            sending.cancel()  # half of them break in the middle of the send
        again = await visitor.http.post(path, json=body)
        assert again.status_code == 200 if number % 2 else again.is_success

    async with Visitor(server.url, model.key) as visitor:
        for _ in range(10):
            await asyncio.gather(*(leave_at_once(visitor, n) for n in range(10)))
        await openai.eventually(lambda: openai.finished == 100)
        answers = Message.objects.filter(conversation__visitor=visitor.id, role="agent")
        await eventually(lambda: not answers.filter(status__in=OPEN).exists())
    assert answers.filter(status="completed").count() == 100
    assert len(openai.sends) == 100


async def test_polling_has_the_same_without_a_socket(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = TOKENS, 150
    conversation = await mia.conversation()
    asked = await mia.ask(conversation, "Hello")
    seen = [asked["answer"]]
    while seen[-1]["status"] not in FINAL:
        seen.append((await mia.messages(conversation))[1])
        await asyncio.sleep(0.05)  # the client's own pace
    order = ["pending", "streaming", "completed"]
    assert [one["status"] for one in seen] == sorted(
        (one["status"] for one in seen), key=order.index
    )
    assert len({one["seq"] for one in seen}) > 3
    for earlier, later in pairwise(seen):
        assert earlier["seq"] <= later["seq"]
        assert later["text"].startswith(earlier["text"])
    assert seen[-1]["text"] == "".join(TOKENS)


@ONE_PROCESS
async def test_deltas_are_merged_but_the_first_is_not_held_back(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = TOKENS, 400
    conversation = await mia.conversation()
    async with mia.socket(conversation) as socket:
        asked = await mia.ask(conversation, "Hello")
        await socket.final(asked["answer"])
    deltas = [frame["text"] for frame in socket.frames if frame["type"] == "delta"]
    assert len(deltas) < 50
    assert len(deltas[0]) < len(deltas[1])


async def test_an_answer_ends_also_after_the_server_was_killed(
    model: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.odd.stall_after = TOKENS, 5
    with Server(LEASE_S="0.5") as mortal:
        async with Visitor(mortal.url, model.key) as visitor:
            conversation = await visitor.conversation()
            async with visitor.socket(conversation) as socket:
                asked = await visitor.ask(conversation, "Hello")
                await socket.until(lambda frame: frame["type"] == "delta")
                answers = Message.objects.filter(pk=asked["answer"]["id"])
                await eventually(lambda: answers.filter(seq__gt=0).exists())
                mortal.kill()
            mortal.start()
            async with visitor.socket(conversation) as socket:
                answer = await socket.final(asked["answer"])
    assert (answer["status"], answer["error"]["code"]) == ("failed", "interrupted")
    assert answer["text"]
    assert "".join(TOKENS).startswith(answer["text"])
    assert len(openai.sends) == 1
