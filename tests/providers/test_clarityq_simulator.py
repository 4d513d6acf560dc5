"""ClarityQ's simulator keeps its own promises: the states, the strictness, the switches."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from ..simulators.clarityq import DOCUMENT, ClarityQSimulator
from ..simulators.clarityq_product import Failure

pytestmark = pytest.mark.default_stack("needs no server")


class Client:
    """Asks as a careful adapter would; holds every good answer against the vendor's document."""

    def __init__(self, sim: ClarityQSimulator) -> None:
        headers = {"X-API-Key": sim.key}
        self.product = f"/api/v1/products/{sim.product_id}"
        self.http = httpx.Client(base_url=sim.url, headers=headers, timeout=5, trust_env=False)

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        answer = self.http.request(method, self.product + path, json=body, **more)
        found = DOCUMENT.match(method, self.product + path)
        if answer.is_success and found is not None:
            assert DOCUMENT.answer_problems(found, answer.status_code, answer.json()) == []
        return answer

    def conversation(self) -> str:
        return (
            f"/conversations/{self.ask('POST', '/ask', {'prompt': 'Hi'}).json()['conversation_id']}"
        )


@pytest.fixture
def sim() -> Iterator[ClarityQSimulator]:
    with ClarityQSimulator() as simulator:
        simulator.ripening = 0
        yield simulator


@pytest.fixture
def client(sim: ClarityQSimulator) -> Iterator[Client]:
    client = Client(sim)
    with client.http:
        yield client


def test_a_question_ripens_into_an_answer(sim: ClarityQSimulator, client: Client) -> None:
    sim.hold()
    path = client.conversation()
    assert client.ask("GET", f"{path}/status").json() == {"status": "IN_PROGRESS"}
    assert client.ask("GET", f"{path}/summary").status_code == 409
    assert client.ask("PUT", f"{path}/feedback", {"rating": "POSITIVE"}).status_code == 409
    sim.release()
    assert client.ask("GET", f"{path}/status").json() == {"status": "COMPLETED"}
    assert "Hi" in client.ask("GET", f"{path}/summary").json()["summary"]


def test_an_error_is_final_and_has_no_answer(sim: ClarityQSimulator, client: Client) -> None:
    sim.answer = lambda _: Failure()
    path = client.conversation()
    assert client.ask("GET", f"{path}/status").json() == {"status": "ERROR"}
    assert client.ask("GET", f"{path}/summary").status_code == 409
    assert client.ask("PUT", f"{path}/feedback", {"rating": "POSITIVE"}).status_code == 409


def test_feedback_left_out_is_erased(sim: ClarityQSimulator, client: Client) -> None:
    path = client.conversation()
    [held] = sim.conversations.values()
    client.ask("PUT", f"{path}/feedback", {"rating": "POSITIVE", "comment": "Good"})
    assert (held.rating, held.comment) == ("POSITIVE", "Good")
    client.ask("PUT", f"{path}/feedback", {"comment": "Bad"})
    assert (held.rating, held.comment) == (None, "Bad")
    client.ask("PUT", f"{path}/feedback", {"rating": None, "comment": None})
    assert (held.rating, held.comment) == (None, None)


@pytest.mark.parametrize(
    "body", [{}, {"rating": "GOOD"}, {"comment": "x" * 2001}, {"rating": "POSITIVE", "more": 1}]
)
def test_feedback_outside_the_document_is_refused(
    sim: ClarityQSimulator, client: Client, body: Any
) -> None:
    path = client.conversation()
    answer = client.ask("PUT", f"{path}/feedback", body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]
    assert len(sim.violations) == 1


@pytest.mark.parametrize("body", [{}, {"prompt": ""}, {"prompt": "Hi", "conversation_id": "x"}])
def test_an_ask_outside_the_document_is_refused(
    sim: ClarityQSimulator, client: Client, body: Any
) -> None:
    assert client.ask("POST", "/ask", body).status_code == 422
    assert sim.asked == []
    assert len(sim.violations) == 1


def test_keys_and_ids_are_looked_at_first(sim: ClarityQSimulator, client: Client) -> None:
    path = client.conversation()
    for key, status in (("wrong", 401), (sim.other_key, 403)):
        answer = client.ask("GET", f"{path}/status", headers={"X-API-Key": key})
        assert (answer.status_code, list(answer.json())) == (status, ["detail"])
    assert client.ask("GET", "/conversations/1/status").status_code == 422
    assert client.ask("GET", f"/conversations/{uuid4()}/status").status_code == 404
    client.product = f"/api/v1/products/{uuid4()}"
    assert client.ask("POST", "/ask", {"prompt": "Hi"}).status_code == 403
    assert sim.violations == []


def test_the_guessed_path_can_be_wrong(sim: ClarityQSimulator, client: Client) -> None:
    sim.answer_path = "/elsewhere/{conversation_id}"
    path = client.conversation()
    assert client.ask("GET", f"{path}/summary").status_code == 404
    [conversation] = sim.conversations
    assert client.http.get(f"/elsewhere/{conversation}").status_code == 200
    assert sim.violations == []
