"""For whoever watches the service."""

import shutil
import tempfile
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from .cast import make_agent, make_widget
from .server import Server
from .simulators.faults import Status
from .simulators.raia import RaiaSimulator
from .visitor import Visitor


def get(server: Server, path: str) -> httpx.Response:
    return httpx.get(server.url + path, trust_env=False, timeout=20)


def numbers(server: Server) -> dict[tuple[str, ...], float]:
    """The server's metrics by name and the labels' values, in the order of the labels' names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(get(server, "/metrics").text)
        for sample in family.samples
    }


def test_a_healthy_service_is_alive_and_ready(server: Server) -> None:
    for path in ("/healthz", "/readyz"):
        answer = get(server, path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize("page", ["healthz", "readyz", "workz"])
def test_there_is_nothing_to_write(server: Server, page: str) -> None:
    refused = httpx.post(f"{server.url}/{page}", trust_env=False)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


def test_readiness_names_what_does_not_answer() -> None:
    folder = Path(tempfile.mkdtemp())
    database = f"sqlite:///{folder}/db.sqlite3"
    with Server("--migrate", DATABASE_URL=database, REDIS_URL="redis://127.0.0.1:1/0") as broken:
        answer = get(broken, "/readyz")
        assert answer.status_code == 503
        assert answer.json()["failing"] == ["channel_layer"]
        shutil.rmtree(folder)
        assert get(broken, "/readyz").json()["failing"] == ["database", "channel_layer"]
        assert get(broken, "/healthz").status_code == 200


@pytest.mark.default_stack("nginx does not pass it")
async def test_metrics_count_answers_and_name_no_visitor(server: Server) -> None:
    widget = make_widget(make_agent(options={"think_s": 0}))
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
    told = get(server, "/metrics")
    assert told.headers["content-type"].startswith("text/plain")
    samples = numbers(server)
    assert samples["chatwidget_turns_total", "demo", "completed"] >= 1
    assert samples["chatwidget_first_text_seconds_count", "demo"] >= 1
    assert ("chatwidget_sockets",) in samples
    for personal in (visitor.id, answer["id"], answer["conversation"], widget.key):
        assert personal not in told.text


@pytest.mark.default_stack("nginx does not pass it")
async def test_metrics_count_polls_and_what_came_of_them(
    server: Server, raia: RaiaSimulator
) -> None:
    agent = make_agent(
        provider="raia",
        base_url=raia.url,
        credentials={"secret_key": raia.key},
        options={"poll_s": 0.05},
    )
    raia.fail_next("poll", Status(502))
    async with Visitor(server.url, make_widget(agent).key) as visitor:
        await visitor.ask_and_wait("Hello")
    samples = numbers(server)
    calls = "chatwidget_upstream_calls_total"
    assert samples[calls, "answered", "raia", "ask"] >= 1
    assert samples[calls, "unavailable", "raia", "receive"] >= 1
    assert samples[calls, "answered", "raia", "receive"] >= 1
