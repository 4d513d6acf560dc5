"""G3: planted secrets and personal strings, looked for wherever something could leak."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from django.conf import settings as configured
from django.contrib.admin.utils import quote

from chatwidget.models import Agent, Widget

from ..cast import make_agent, make_widget, openai_agent
from ..environment import DATA_DIR
from ..server import Server
from ..simulators.base import Received
from ..simulators.faults import Status
from ..simulators.openai import OpenAISimulator
from ..simulators.raia import RaiaSimulator
from ..visitor import Visitor
from ..waiting import eventually
from .conftest import operator

PERSONAL = {
    "text": "my-name-is-quentin-canary-1",
    "comment": "call-me-at-canary-2",
    "url": "https://shop.example/canary-3",
    "title": "title-canary-4",
    "referrer": "https://mail.example/canary-5",
}


@pytest.fixture(scope="module")
def talkative(database: None) -> Iterator[Server]:
    """A server that logs all it can."""
    with Server(LOG_LEVEL="DEBUG") as running:
        yield running


class Planted:
    """Agents whose keys are canaries, and what they are asked."""

    def __init__(self, openai: OpenAISimulator, raia: RaiaSimulator) -> None:
        openai.key, raia.key = "sk-canary-openai-5d1f", "raia-canary-key-77aa"
        self.agents = [
            openai_agent(openai, system_prompt="prompt-canary-91"),
            make_agent(
                "Raia", "raia", base_url=raia.url, credentials={"secret_key": raia.key}
            ),
            make_agent("Wrong", "openai", base_url=openai.base_url,
                       credentials={"api_key": "sk-canary-refused-03"},
                       options={"model": openai.model}),
            make_agent("Broken", "raia", credentials={"secret_key": "canary-tampered-11"}),
        ]  # fmt: skip
        broken = Agent.objects.filter(pk=self.agents[3].pk)
        broken.update(sealed_credentials=self.agents[3].sealed_credentials[:-4])
        self.secrets = [
            *(value for one in self.agents[:3] for value in one.credentials.values()),
            "canary-tampered-11",
            "prompt-canary-91",
            configured.SECRET_KEY,
            *configured.CREDENTIAL_KEYS,
            *(one.sealed_credentials for one in self.agents),
        ]

    def found_in(self, text: str, *more: str) -> list[str]:
        return [canary for canary in (*self.secrets, *more) if canary in text]


@pytest.fixture
def planted(openai: OpenAISimulator, raia: RaiaSimulator) -> Planted:
    return Planted(openai, raia)


async def talk(server: Server, widget: Widget, seen: list[str]) -> Visitor:
    """Ask, come back, vote, fail: everything a visitor can see goes to `seen`."""
    visitor = Visitor(server.url, widget.key)
    visitor.http.event_hooks = {"response": [lambda answer: keep(answer, seen)]}
    session = await visitor.enter()
    seen.append(str(session))
    conversation = await visitor.conversation()
    async with visitor.socket(conversation) as socket:
        page = {name: PERSONAL[name] for name in ("url", "title", "referrer")}
        asked = await visitor.ask(conversation, PERSONAL["text"], page=page)
        answer = await socket.final(asked["answer"])
        if answer["rateable"]:
            await visitor.vote(answer, vote="down", comment=PERSONAL["comment"])
    seen += [str(frame) for frame in socket.frames]
    for path in ("/conversations", f"/conversations/{conversation}/messages"):
        await visitor.call("GET", path)
    return visitor


async def keep(answer: httpx.Response, seen: list[str]) -> None:
    await answer.aread()
    seen.append(f"{answer.headers} {answer.text}")


async def test_no_secret_and_nothing_personal_leaks_anywhere(
    talkative: Server, planted: Planted, openai: OpenAISimulator, raia: RaiaSimulator
) -> None:
    seen: list[str] = []
    tokens = []
    for agent in planted.agents:
        for status in (200, 401, 500):
            if status != 200:
                openai.fail_always("send", repeats(status, "Authorization"))
                raia.fail_always("send", repeats(status, "Agent-Secret-Key"))
            visitor = await talk(talkative, make_widget(agent), seen)
            tokens.append(str(visitor.token))
            await visitor.http.aclose()
            openai.heal()
            raia.heal()
    personal = [*PERSONAL.values(), *tokens]
    assert planted.found_in("\n".join(seen)) == []
    assert planted.found_in(public_pages(talkative), *personal) == []
    assert planted.found_in(operator_pages(talkative, planted.agents), *tokens) == []
    assert planted.found_in(talkative.log(), *personal) == []


def repeats(status: int, header: str) -> Callable[[Received], Status]:
    """A vendor that repeats our key in what it says, and, where it knows it, the question."""

    def refuse(received: Received) -> Status:
        words = f"bad key {received.headers[header]}"
        words += f": {PERSONAL['text']}" if status != 401 else ""
        return Status(status, {"error": {"message": words, "type": words}, "message": words})

    return refuse


def public_pages(server: Server) -> str:
    """What anybody can read."""
    paths = ("/metrics", "/api/v1/schema", "/api/v1/docs", "/nothing", "/api/nothing", "/")
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        hosts: list[dict[str, str]] = [{}, {"Host": "evil.test"}]
        return "\n".join(client.get(path, headers=host).text for path in paths for host in hosts)


def operator_pages(server: Server, agents: list[Agent]) -> str:
    """Every page of the admin about these agents, their widgets and votes, lists included."""
    paths = ["", "chatwidget/agent/", "chatwidget/widget/", "chatwidget/conversation/"]
    paths += ["feedback/feedback/"]
    for agent in agents:
        paths += [f"chatwidget/agent/{agent.pk}/{page}/" for page in ("change", "history")]
        paths += [f"chatwidget/widget/{quote(one.pk)}/change/" for one in agent.widgets.all()]
        paths += [f"chatwidget/conversation/{one.pk}/change/" for one in agent.conversations.all()]
    found = []
    with operator(server) as client:
        for path in paths:
            page = client.get(f"/admin/{path}")
            assert (page.status_code, page.url.path) == (200, f"/admin/{path}")
            found.append(page.text)
    assert len(found) > 20
    # The operator's own prompt is theirs to see.
    return "\n".join(found).replace("prompt-canary-91", "")


def database_bytes() -> bytes:
    """What is in the database's files, its log included.

    Read by another process: closing the file in this one would drop SQLite's own locks on it.
    """
    files = [str(path) for path in Path(DATA_DIR).glob("db.sqlite3*")]
    return subprocess.run(["cat", *files], capture_output=True, check=True).stdout


@pytest.mark.default_stack("reads the file of SQLite")
async def test_the_database_holds_no_secret_and_no_token(
    talkative: Server, planted: Planted
) -> None:
    visitor = await talk(talkative, make_widget(planted.agents[0]), [])
    kept = database_bytes()
    assert PERSONAL["text"].encode() in kept  # or the search itself is broken
    assert str(visitor.token).encode() not in kept
    hidden = [*planted.secrets[:4], configured.SECRET_KEY, *configured.CREDENTIAL_KEYS]
    assert [one for one in hidden if one.encode() in kept] == []
    await visitor.call("DELETE", "/visitor", expect=204)
    await visitor.http.aclose()


@pytest.mark.default_stack("reads the file of SQLite")
async def test_nothing_of_an_erased_visitor_stays_in_the_database_file(
    talkative: Server, planted: Planted
) -> None:
    mark = uuid.uuid4().hex
    visitor = Visitor(talkative.url, make_widget(planted.agents[0]).key)
    await visitor.enter()
    conversation = await visitor.conversation()
    for number in range(10):
        async with visitor.socket(conversation) as socket:
            page = {"url": f"https://{mark}.example", "title": mark}
            asked = await visitor.ask(conversation, f"{mark} {number}" + "x" * 500, page=page)
            answer = await socket.final(asked["answer"])
        await visitor.vote(answer, vote="down", comment=f"{mark} comment")
    assert database_bytes().count(mark.encode()) > 10
    await visitor.call("DELETE", "/visitor", expect=204)
    await visitor.http.aclose()
    await eventually(lambda: mark.encode() not in database_bytes())
