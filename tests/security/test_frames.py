"""E3: whatever a client sends on the socket, the socket's own error is the worst that happens."""

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import websockets

from ..server import Server
from ..visitor import Socket, Visitor
from .conftest import fast_widget

COUNT = 500
KINDS = ["hello", "sync", "ping", "pong", "ready", "message", "delta", "error", "close", "", "x"]
VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 10**300, "", "x", "\x00", "\u202e", "🚲", [], {}, [[]], {"id": {}},
    "00000000-0000-0000-0000-000000000000", "x" * 5000, ["x"] * 500,
]  # fmt: skip


def malformed(dice: random.Random) -> Iterator[str | bytes]:
    """Make frames without end: no JSON, no object, no such type, or wrong in a field."""
    while True:
        yield dice.choice(
            [
                "[" * 10_000,
                '{"a":' * 2_500,
                '{"type": "sync", "conversation": ' + "[" * 5_000 + "]" * 5_000 + "}",
                "9" * 5_000,
                '{"type": "ping", "n": ' + "9" * 5_000 + "}",
                '{"type": "sync", "type": "dance"}',
                '{"type": "ping", "type": 5}',
                "{'type': 'ping'}",
                '{"type": "ping"',
                '{"type": NaN}',
                '"ping"',
                "null",
                "\ufeff{}",
                "",
                " ",
            ]
        )
        yield bytes(dice.randrange(256) for _ in range(dice.randrange(200)))
        yield b'{"type": "ping"}'
        yield "".join(chr(dice.randrange(1, 0xD800)) for _ in range(dice.randrange(1, 50)))
        yield json.dumps(dice.choice(VALUES))
        yield json.dumps({"type": dice.choice(VALUES)})
        yield json.dumps({"type": dice.choice(["sing", "Ping", "ping ", "sync\x00"])})
        yield json.dumps({"type": "sync", "conversation": dice.choice(WRONG_IDS)})
        yield json.dumps({"type": "sync", "token": dice.choice(VALUES)})
        yield json.dumps({"type": "hello", "token": dice.choice(VALUES)})


WRONG_IDS = [value for value in VALUES if not isinstance(value, str)]


async def ping(socket: Socket) -> list[str]:
    """Ping, and return what came before the pong."""
    await socket.send({"type": "ping"})
    found: list[str] = []
    while (frame := await socket.next())["type"] != "pong":
        found.append(f"{frame['type']} {frame.get('code')}")
    return found


async def test_500_malformed_frames_are_500_errors_on_an_open_socket(server: Server) -> None:
    before = len(server.log())
    frames = malformed(random.Random(20261121))
    async with Visitor(server.url, fast_widget().key) as visitor, visitor.socket() as socket:
        for _ in range(COUNT):
            frame = next(frames)
            await socket.connection.send(frame)
            assert await ping(socket) == ["error invalid"], frame[:100]
    assert "Traceback" not in server.log()[before:]


async def test_malformed_hellos_close_with_4400(server: Server) -> None:
    before = len(server.log())
    frames = malformed(random.Random(7))
    async with Visitor(server.url, fast_widget().key) as visitor:
        for _ in range(60):
            frame = next(frames)
            async with visitor.socket(hello=False) as socket:
                await socket.connection.send(frame)
                assert await socket.close_code() in (4400, 4401), frame[:100]
                assert len(socket.frames) == 1
    assert "Traceback" not in server.log()[before:]


async def test_a_frame_of_16_kib_is_read_and_a_larger_one_ends_the_socket(server: Server) -> None:
    limit = 16 * 1024
    async with Visitor(server.url, fast_widget().key) as visitor:
        for too_large in ("x" * (limit + 1), ["x" * limit] * 4):  # the second one in pieces
            async with visitor.socket() as socket:
                await socket.connection.send(json.dumps({"type": "ping"}).ljust(limit))
                assert (await socket.next())["type"] == "pong"
                with suppress(websockets.ConnectionClosed):
                    await socket.connection.send(too_large)
                assert await socket.close_code() == 1009
        async with visitor.socket() as socket:
            assert await ping(socket) == []


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff", b"\x81\x83\x00\x00\x00\x00\xff\xfe\xfd"])
async def test_what_is_no_websocket_frame_ends_that_socket_only(server: Server, raw: bytes) -> None:
    before = len(server.log())
    async with Visitor(server.url, fast_widget().key) as visitor, visitor.socket() as other:
        async with visitor.socket() as socket:
            socket.connection.transport.write(raw)
            with pytest.raises(websockets.ConnectionClosed):
                await socket.connection.recv()
        assert await ping(other) == []
    assert "Traceback" not in server.log()[before:]
