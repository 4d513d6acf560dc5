"""The simulators keep their own promises: faithful, strict, faulty on request."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.simulators.base import ANY
from tests.simulators.faults import (
    Drop,
    DropAfter,
    GzipBomb,
    Html,
    RateLimited,
    Raw,
    Redirect,
    Stall,
    Status,
)
from tests.simulators.openai import OpenAISimulator
from tests.simulators.openapi import Document
from tests.simulators.raia import DOCUMENT, SECRETS, RaiaSimulator
from tests.simulators.raia_ledger import Failure, Reply

pytestmark = pytest.mark.default_stack("needs no server")

# raia


class RaiaClient:
    """Asks as a careful adapter would; holds every good answer against the vendor's document."""

    def __init__(self, sim: RaiaSimulator) -> None:
        headers = {"Agent-Secret-Key": sim.key}
        self.http = httpx.Client(base_url=f"{sim.url}/external", headers=headers, timeout=5)

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        answer = self.http.request(method, path, json=body, params=query)
        found = DOCUMENT.match(method, f"/external{path}")
        if answer.is_success and found is not None:
            shown = answer.json() if answer.content else None
            assert DOCUMENT.answer_problems(found, answer.status_code, shown) == []
        return answer

    def conversation(self, **user: str) -> str:
        names = {"firstName": "Web", "lastName": "Visitor", "fkId": "visitor-1"}
        made = self.ask("POST", "/users", names | user)
        assert made.status_code == 201
        body = {"conversationUserId": made.json()["id"]}
        made = self.ask("POST", "/conversations", body)
        assert made.status_code == 201
        return str(made.json()["id"])

    def send(self, conversation: str, text: str = "Are you open?") -> Any:
        return self.ask("POST", f"/conversations/{conversation}/messages/async", {"message": text})

    def poll(self, question: Any) -> Any:
        path = f"/conversations/{question['conversationId']}/messages/{question['id']}/response-on"
        return self.http.get(path).json()

    def messages(self, conversation: str, **query: str) -> Any:
        return self.ask("GET", f"/conversations/{conversation}/messages", **query).json()[
            "messages"
        ]


@pytest.fixture
def sim() -> Iterator[RaiaSimulator]:
    with RaiaSimulator() as simulator:
        yield simulator


@pytest.fixture
def client(sim: RaiaSimulator) -> Iterator[RaiaClient]:
    client = RaiaClient(sim)
    with client.http:
        yield client


def answered(sim: RaiaSimulator, conversation: str) -> bool:
    return all(
        one.state == "completed" for one in sim.conversations[conversation].questions.values()
    )


def vote(question: Any, user: str, message_id: str, **more: str) -> dict[str, str]:
    body = {"conversationMessageId": message_id, "userId": user, "question": question["message"]}
    return body | {"voteType": "down"} | more


def test_the_key_comes_before_everything(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.key = "another"
    for path in ("/users/search", "/nonsense"):
        answer = client.ask("POST", path, {"wrong": 1})
        assert answer.status_code == 403
        assert answer.json()["message"] == "INVALID_CREDENTIALS"
    assert sim.violations == []


def test_users_are_unique_and_found(sim: RaiaSimulator, client: RaiaClient) -> None:
    conversation = client.conversation(email="a@example.test")
    found = client.ask("GET", "/users/search", fkId="visitor-1")
    assert found.json()["conversationIds"] == [conversation]
    body = {"firstName": "Web", "lastName": "Visitor", "email": "a@example.test"}
    assert client.ask("POST", "/users", body).status_code == 400
    assert client.ask("GET", "/users/search", fkId="visitor-2").status_code == 404
    assert client.ask("GET", "/users/search").status_code == 400
    assert sim.violations == []


def test_a_question_ripens_into_an_answer(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.ripening = 0.05
    conversation = client.conversation()
    question = client.send(conversation).json()
    assert question["conversationMessageId"] == question["id"]
    assert question["senderRole"] == "conversation_user"
    assert client.poll(question) == {"status": "pending", "message": None, "error": None}
    sim.wait_for(lambda: answered(sim, conversation))
    poll = client.poll(question)
    assert poll["status"] == "completed"
    assert poll["error"] is None
    assert poll["message"]["conversationMessageId"] == question["id"]
    assert [one["senderRole"] for one in client.messages(conversation)] == [
        "conversation_user",
        "assistant",
    ]
    newest = client.messages(conversation, orderDirection="DESC")[0]
    assert newest["senderRole"] == "assistant"
    assert sim.sends[0].text == "Are you open?"
    assert sim.violations == []


def test_held_answers_wait_for_release(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.ripening = 0
    sim.hold()
    question = client.send(client.conversation()).json()
    assert client.poll(question)["status"] == "pending"
    sim.release()
    assert client.poll(question)["status"] == "completed"


def test_a_synchronous_send_waits_for_the_answer(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.ripening = 0.05
    sim.answer = lambda text: Reply(text.upper(), [{"url": "https://x.test", "title": "X"}])
    conversation = client.conversation()
    answer = client.ask("POST", f"/conversations/{conversation}/messages", {"message": "hi"}).json()
    assert answer["message"] == "HI"
    assert answer["fullAIResponse"]["urlCitations"] == [{"url": "https://x.test", "title": "X"}]


def test_an_answer_can_fail_in_old_and_new_words(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.ripening = 0
    sim.answer = lambda text: Failure("too tired")
    question = client.send(client.conversation()).json()
    assert client.poll(question) == {"status": "failed", "message": None, "error": "too tired"}
    sim.odd.older_words = True
    assert client.poll(question)["status"] == "error"


def test_a_human_takes_over_and_hands_back(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.hold()
    conversation = client.conversation()
    before = client.send(conversation).json()
    sim.take_over(conversation, "Ann Other")
    shown = client.ask("GET", f"/conversations/{conversation}").json()
    assert (shown["mode"], shown["assignedUser"]["lastName"]) == ("manual", "Other")
    during = client.send(conversation).json()
    sim.human_says(conversation, "Hello, Ann here")
    sim.hand_back(conversation)
    after = client.send(conversation).json()
    sim.release()
    states = [client.poll(question)["status"] for question in (before, during, after)]
    assert states == ["pending", "pending", "completed"]
    human = [
        one for one in client.messages(conversation) if one["senderRole"] == "manual_assistant"
    ]
    assert [one["message"] for one in human] == ["Hello, Ann here"]
    assert human[0]["conversationMessageId"] == during["id"]


def test_a_late_answer_can_barge_in(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.odd.late_answers = True
    sim.hold()
    conversation = client.conversation()
    question = client.send(conversation).json()
    sim.take_over(conversation)
    sim.release()
    assert client.poll(question)["status"] == "completed"


def test_manual_messages_need_manual_mode(sim: RaiaSimulator, client: RaiaClient) -> None:
    conversation = client.conversation()
    path = f"/conversations/{conversation}/send-manual-message"
    refused = client.ask("POST", path, {"message": "hi"})
    assert (refused.status_code, refused.content) == (400, b"")
    client.ask("PUT", f"/conversations/{conversation}/mode", {"mode": "manual"})
    assert client.ask("POST", path, {"message": "hi"}).status_code == 200
    assert sim.violations == []


def test_feedback_is_created_then_updated(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.ripening = 0
    conversation = client.conversation()
    question = client.send(conversation).json()
    rated, user = client.poll(question)["message"]["id"], sim.conversations[conversation].user.id
    path = "/conversation-message-feedbacks"
    first = client.ask("POST", path, vote(question, user, rated, comment="why?"))
    second = client.ask("POST", path, vote(question, user, rated, voteType="up"))
    assert (first.status_code, second.status_code) == (201, 201)
    for name in ("id", "createdAt", "comment"):
        assert first.json()[name] == second.json()[name]
    assert first.json()["updatedAt"] < second.json()["updatedAt"]
    assert sim.feedbacks[rated, user].vote == "up"
    listed = client.messages(conversation, shouldIncludeFeedbacks="true")[1]
    assert listed["conversationMessageFeedbacks"][0]["voteType"] == "up"
    shown = client.ask("GET", f"/conversations/{conversation}").json()
    assert shown["feedbacks"][0]["comment"] == "why?"
    wrong = client.ask("POST", path, vote(question, user, question["id"]))
    assert wrong.status_code == 404
    assert sim.violations == []


def test_a_user_can_be_erased(sim: RaiaSimulator, client: RaiaClient) -> None:
    conversation = client.conversation()
    user = sim.conversations[conversation].user.id
    erased = client.ask("DELETE", "/conversations", {"conversationUserId": user})
    assert erased.status_code == 204
    assert client.ask("GET", f"/conversations/{conversation}").status_code == 404
    assert client.ask("DELETE", f"/users/{user}").status_code == 204
    assert client.ask("GET", f"/users/{user}").status_code == 404
    assert (sim.users, sim.conversations) == ({}, {})


@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_unknown_id_gives_what_is_set_where_no_404_is_documented(
    sim: RaiaSimulator, client: RaiaClient, status: Any
) -> None:
    sim.odd.unknown_id = status
    for method, path, body in (
        ("POST", "/conversations", {"conversationUserId": "1"}),
        ("DELETE", "/conversations", {"conversationUserId": "1"}),
        ("GET", "/conversations/1/messages", None),
        ("POST", "/conversations/1/messages/async", {"message": "hi"}),
        ("GET", "/conversations/1/messages/2/response-on", None),
    ):
        answer = client.http.request(method, path, json=body)
        assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert client.ask("GET", "/conversations/1").status_code == 404
    assert client.ask("GET", "/users/1").status_code == 404


def test_conversations_are_listed_by_page(sim: RaiaSimulator, client: RaiaClient) -> None:
    client.conversation()
    newest = client.conversation(fkId="visitor-2")
    page = client.ask("GET", "/conversations", pageSize="1", orderDirection="DESC").json()
    assert [one["id"] for one in page["data"]] == [newest]
    assert (page["totalPages"], page["hasNextPage"]) == (2, True)


def test_the_profile_gives_secrets_away(sim: RaiaSimulator, client: RaiaClient) -> None:
    profile = client.ask("GET", "/agents/by-api-key").text
    assert all(secret in profile for secret in (*SECRETS, sim.key))


def test_odd_things_come_by_switch(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.ripening = 0
    for name in ("is_anonymized", "null_citations", "marker", "html", "huge"):
        setattr(sim.odd, name, True)
    sim.odd.source = "pigeon"
    conversation = client.conversation()
    question = client.http.post(  # not by `ask`: an unknown source is not in the document
        f"/conversations/{conversation}/messages/async", json={"message": "hi"}
    ).json()
    message = client.poll(question)["message"]
    assert question["isAnonymized"] is False
    assert message["source"] == "pigeon"
    assert message["fullAIResponse"]["urlCitations"] is None
    assert "【4:0†source】" in message["message"]
    assert "<script>" in message["message"]
    assert len(message["message"]) == 200_000
    sim.odd.null_full_ai_response = True
    assert client.poll(question)["message"]["fullAIResponse"] is None


@pytest.mark.parametrize(
    ("method", "path", "body", "problem"),
    [
        ("POST", "/users", {"firstName": "A", "lastName": "B"}, "fkId"),
        ("POST", "/users", {"firstName": "A", "lastName": "B", "fkId": "1", "x": 1}, "'x'"),
        ("POST", "/users", None, "no body"),
        ("POST", "/conversations", {"conversationUserId": "1", "title": "x" * 256}, "too long"),
        ("GET", "/users/search?fkid=1", None, "unknown query parameter fkid"),
        ("GET", "/conversations/1/messages?shouldIncludeFeedbacks=yes", None, "not of type"),
        ("GET", "/conversations/1/messages?orderDirection=asc", None, "not one of"),
        ("GET", "/conversations/1/", None, "no such operation"),
        ("PUT", "/conversations/1/mode", {"mode": "robot"}, "not one of"),
        ("POST", "/conversations/1/messages/async", {"message": None}, "not of type"),
        (
            "POST",
            "/conversation-message-feedbacks",
            {"conversationMessageId": "1", "userId": "2", "voteType": "none", "question": ""},
            "not a 'uuid'",
        ),
    ],
)
def test_what_the_document_forbids_is_recorded(
    sim: RaiaSimulator, client: RaiaClient, method: str, path: str, body: Any, problem: str
) -> None:
    assert client.http.request(method, path, json=body).status_code == 400
    assert problem in " ".join(sim.violations)


def test_a_body_must_be_declared_as_json(sim: RaiaSimulator, client: RaiaClient) -> None:
    body = json.dumps({"conversationUserId": "1"})
    assert client.http.post("/conversations", content=body).status_code == 400
    assert "declared as" in sim.violations[0]


def test_a_reference_that_leads_nowhere_is_tolerated_and_listed() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/Gone"}}}
    body = {"content": {"application/json": {"schema": schema}}}
    document = Document({"paths": {"/x": {"post": {"requestBody": body, "responses": {}}}}})
    [operation] = document.operations
    headers = {"Content-Type": "application/json"}
    assert document.request_problems(operation, {}, headers, b'{"a": [1]}') == []
    assert document.dangling == {"#/components/schemas/Gone"}
    assert document.request_problems(operation, {}, headers, b'{"b": 1}') != []


def test_a_literal_path_wins_over_a_placeholder() -> None:
    document = Document({"paths": {"/users/{id}": {"get": {}}, "/users/search": {"get": {}}}})
    found = [document.match("GET", path) for path in ("/users/search", "/users/1", "/users/1/x")]
    assert [one and one.template for one in found] == ["/users/search", "/users/{id}", None]


# Faults, the same for all simulators


def test_faults_come_once_in_order_then_all_is_well(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.fail_next("agent", Html(), RateLimited(7), Status(500, {"status": 500, "message": "oh"}))
    answers = [client.ask("GET", "/agents/by-api-key") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [502, 429, 500, 200]
    assert answers[0].headers["Content-Type"].startswith("text/html")
    assert answers[1].headers["Retry-After"] == "7"
    assert len(sim.calls("agent")) == 4


def test_a_fault_can_stay_or_be_picked_until_healed(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.fail_always(ANY, Redirect("http://127.0.0.1:1/"))
    assert client.ask("GET", "/agents/by-api-key").status_code == 302
    sim.heal()
    sim.fail_always("search_user", lambda one: Status(500) if one.query["fkId"] == "1" else None)
    statuses = [client.ask("GET", "/users/search", fkId=one).status_code for one in "12"]
    assert statuses == [500, 404]


def test_dropped_before_or_after_the_work(sim: RaiaSimulator, client: RaiaClient) -> None:
    conversation = client.conversation()
    sim.fail_next("send", Drop(), DropAfter())
    for stored in (0, 1):
        with pytest.raises(httpx.TransportError):
            client.send(conversation)
        assert len(sim.sends) == stored
    assert sim.violations == []


def test_a_stalled_request_waits_for_release(sim: RaiaSimulator, client: RaiaClient) -> None:
    sim.fail_next("agent", Stall())
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(client.ask("GET", "/agents/by-api-key").status_code)
    )
    thread.start()
    sim.wait_for(lambda: sim.stalled == 1)
    assert answers == []
    sim.release()
    thread.join(5)
    assert answers == [200]


def test_raw_bytes_and_a_bomb(sim: RaiaSimulator, client: RaiaClient) -> None:
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"
    sim.fail_next("agent", Raw(short, pause=0.0001), GzipBomb(1))
    with pytest.raises(httpx.RemoteProtocolError):
        client.ask("GET", "/agents/by-api-key")
    assert len(client.http.get("/agents/by-api-key").content) == (1 << 20) + 2


def test_it_can_go_down_and_come_back(sim: RaiaSimulator, client: RaiaClient) -> None:
    conversation = client.conversation()
    question = client.send(conversation).json()
    sim.stop()
    with pytest.raises(httpx.ConnectError):
        client.send(conversation)
    sim.start()
    assert client.poll(question)["status"] == "completed"


def test_waiting_ends_with_what_was_asked(sim: RaiaSimulator, client: RaiaClient) -> None:
    client.ask("GET", "/agents/by-api-key")
    with pytest.raises(AssertionError, match="last requests: agent"):
        sim.wait_for(lambda: False, timeout=0.01)


async def test_an_asynchronous_test_waits_without_blocking_itself(sim: RaiaSimulator) -> None:
    async with httpx.AsyncClient() as http:
        asking = asyncio.create_task(http.get(sim.url))
        await sim.eventually(lambda: sim.calls("unknown"))
        assert (await asking).status_code == 403


def test_webhooks_are_called_when_told(sim: RaiaSimulator, client: RaiaClient) -> None:
    hook = {"title": "t", "description": "d", "triggerCondition": "each_message"}
    hook["url"] = f"{sim.url}/hook"
    assert client.ask("POST", "/agents/webhooks", hook).status_code == 400
    sim.loopback_webhooks = True
    assert client.ask("POST", "/agents/webhooks", hook).status_code == 201
    sim.fail_next("unknown", Status(204))
    assert sim.call_webhooks("each_message", {"conversationId": "1"}) == [204]
    assert sim.requests[-1].json == {"conversationId": "1"}


# OpenAI-compatible


@pytest.fixture
def llm() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


BODY = {"model": "sim-1", "messages": [{"role": "user", "content": "hi there"}]}


def complete(llm: OpenAISimulator, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {llm.key}"}
    return httpx.post(f"{llm.base_url}/chat/completions", json=BODY | more, headers=headers)


def events(answer: httpx.Response) -> list[Any]:
    """The data of a stream's events, of any line ends."""
    lines = re.sub(r"\r\n|\r", "\n", answer.text.removeprefix("\ufeff"))
    found = []
    for block in lines.split("\n\n"):
        data = [line[6:] for line in block.split("\n") if line.startswith("data: ")]
        if data:
            found.append(json.loads("\n".join(data)) if data != ["[DONE]"] else "[DONE]")
    return found


def text(found: list[Any]) -> str:
    choices = [chunk["choices"][0] for chunk in found if chunk != "[DONE]" and chunk["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_a_stream_has_the_usual_shape(llm: OpenAISimulator) -> None:
    answer = complete(llm, stream=True, stream_options={"include_usage": True})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    role, *_, finish, counted, done = events(answer)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert counted["choices"] == []
    assert counted["usage"]["completion_tokens"] == 7
    assert done == "[DONE]"
    assert text(events(answer)) == "Hello, how can I help?"
    assert (llm.finished, llm.aborted, llm.streaming) == (1, 0, 0)
    assert llm.violations == []


@pytest.mark.parametrize("where", ["reasoning_content", "reasoning"])
def test_a_reasoning_model_thinks_before_it_answers(llm: OpenAISimulator, where: Any) -> None:
    llm.thoughts, llm.thoughts_in = ["hm", "so"], where
    _, first, second, answer, *_ = events(complete(llm, stream=True))
    assert [one["choices"][0]["delta"] for one in (first, second)] == [{where: "hm"}, {where: "so"}]
    assert answer["choices"][0]["delta"] == {"content": "Hello"}


def test_a_whole_answer(llm: OpenAISimulator) -> None:
    llm.finish_reason = "length"
    llm.tokens = lambda messages: [messages[-1]["content"], "!"]
    choice = complete(llm).json()["choices"][0]
    assert choice["message"]["content"] == "hi there!"
    assert choice["finish_reason"] == "length"


def test_key_models_and_shape_are_checked(llm: OpenAISimulator) -> None:
    assert complete(llm, model="other").json()["error"]["code"] == "model_not_found"
    headers = {"Authorization": f"Bearer {llm.key}"}
    models = httpx.get(f"{llm.base_url}/models", headers=headers).json()
    assert [model["id"] for model in models["data"]] == ["sim-1"]
    llm.key = "another"
    refused = httpx.get(f"{llm.base_url}/models", headers=headers)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert llm.violations == []
    wrongs: list[Any] = [{"messages": []}, {"garbage": 1}, {"stream": "yes"}]
    wrongs.append({"stream_options": {}})
    for wrong in wrongs:
        assert complete(llm, **wrong).status_code == 400
    assert len(llm.violations) == 4


@pytest.mark.parametrize(
    ("roles", "status"),
    [
        ("user", 200),
        ("system user assistant user", 200),
        ("user user", 400),
        ("assistant user", 400),
        ("user assistant", 400),
        ("user assistant assistant user", 400),
    ],
)
def test_some_templates_refuse_roles_that_do_not_alternate(
    llm: OpenAISimulator, roles: str, status: int
) -> None:
    messages = [{"role": role, "content": "hi"} for role in roles.split()]
    assert complete(llm, messages=messages).status_code == 200
    llm.alternating = True
    assert complete(llm, messages=messages).status_code == status
    assert llm.violations == []


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("switch", ["multiline", "bytewise", "bom", "heartbeat", "unknown_event"])
def test_odd_but_legal_streams_say_the_same(
    llm: OpenAISimulator, newline: Any, switch: str
) -> None:
    llm.odd.newline = newline
    setattr(llm.odd, switch, True)
    found = [one for one in events(complete(llm, stream=True)) if "sun" not in one]
    assert text(found) == "Hello, how can I help?"


def test_illegal_and_doubtful_streams(llm: OpenAISimulator) -> None:
    llm.odd.twice = llm.odd.swapped = True
    assert text(events(complete(llm, stream=True))).startswith(",,HelloHello how how")
    llm.odd.oversize = 1 << 20
    assert len(complete(llm, stream=True).content) > 2 << 20
    llm.odd.oversize, llm.odd.bad_utf8 = 0, True
    assert b"\xff\xfe" in complete(llm, stream=True).content
    llm.odd.content_type = "text/html"
    assert complete(llm, stream=True).headers["Content-Type"] == "text/html"


def test_streams_that_end_too_early(llm: OpenAISimulator) -> None:
    llm.odd.ending = "no_done"
    assert events(complete(llm, stream=True))[-1]["choices"][0]["finish_reason"] == "stop"
    llm.odd.ending = "early_eof"
    assert text(events(complete(llm, stream=True))) == "Hello, how"
    llm.odd.ending = "mid_event"
    assert not complete(llm, stream=True).text.endswith("\n")
    llm.odd.ending = "error"
    assert events(complete(llm, stream=True))[-1]["error"]["type"] == "server_error"
    llm.odd.ending = "reset"
    with pytest.raises(httpx.TransportError):
        complete(llm, stream=True)
    assert (llm.finished, llm.aborted) == (5, 0)


def test_streams_that_end_badly_behind_their_reason(llm: OpenAISimulator) -> None:
    llm.odd.ending = "late_error"
    *_, finish, failed = events(complete(llm, stream=True))
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert failed["error"]["type"] == "server_error"
    llm.odd.ending = "late_reset"
    with pytest.raises(httpx.TransportError):
        complete(llm, stream=True)
    llm.odd.ending = "left_open"
    thread = threading.Thread(target=lambda: complete(llm, stream=True))
    thread.start()
    llm.wait_for(lambda: llm.stalled == 1)
    llm.release()
    thread.join(5)
    assert (llm.finished, llm.aborted) == (3, 0)


@pytest.mark.parametrize("shape", ["old_vllm", "named", "fastchat"])
def test_errors_in_a_stream_have_many_shapes(llm: OpenAISimulator, shape: Any) -> None:
    llm.odd.ending, llm.odd.error_shape = "error", shape
    answer = complete(llm, stream=True)
    assert "had an error while processing" in answer.text
    assert not any("error" in one for one in events(answer) if one != "[DONE]")
    assert ("event: error" in answer.text) == (shape == "named")


def test_content_in_parts_and_of_another_choice(llm: OpenAISimulator) -> None:
    llm.odd.parts = True
    _, first, *_ = events(complete(llm, stream=True))
    assert first["choices"][0]["delta"]["content"] == [{"type": "text", "text": "Hello"}]
    llm.odd.parts, llm.odd.spare_choice = False, True
    _, _, alone, both, *_ = events(complete(llm, stream=True))
    assert [one["index"] for one in alone["choices"]] == [1]
    assert [one["index"] for one in both["choices"]] == [1, 0]


def test_some_proxies_give_a_reason_with_every_token(llm: OpenAISimulator) -> None:
    llm.odd.early_reason, llm.thoughts = True, ["hm"]
    _, *said, _ = events(complete(llm, stream=True))
    assert {one["choices"][0]["finish_reason"] for one in said} == {"stop"}
    assert len(said) == 9


@pytest.mark.parametrize("heartbeat", [False, True])
def test_a_client_that_leaves_is_counted(llm: OpenAISimulator, heartbeat: bool) -> None:
    llm.odd.stall_after, llm.odd.heartbeat = 2, heartbeat
    headers = {"Authorization": f"Bearer {llm.key}"}
    url = f"{llm.base_url}/chat/completions"
    with httpx.stream("POST", url, json=BODY | {"stream": True}, headers=headers) as answer:
        pieces = answer.iter_raw()  # kept: a forgotten generator closes the stream
        next(pieces)
        assert llm.streaming == 1
    llm.wait_for(lambda: llm.aborted == 1)
    assert (llm.streaming, llm.finished) == (0, 0)


def test_a_stalled_stream_goes_on_when_released(llm: OpenAISimulator) -> None:
    llm.odd.stall_after = 2
    texts: list[str] = []
    thread = threading.Thread(target=lambda: texts.append(text(events(complete(llm, stream=True)))))
    thread.start()
    llm.wait_for(lambda: llm.stalled == 1)
    llm.release()
    thread.join(5)
    assert texts == ["Hello, how can I help?"]


def test_tokens_come_at_their_rate_with_their_time(llm: OpenAISimulator) -> None:
    llm.rate, llm.stamped = 100.0, True
    before = time.monotonic()
    stamps = [token.split("@") for token in text(events(complete(llm, stream=True))).split()]
    assert [number for number, _ in stamps] == [str(number) for number in range(7)]
    times = [float(at) for _, at in stamps]
    assert before < times[0] < times[-1]
    assert times[-1] - times[0] >= 0.05
    stats = httpx.get(f"{llm.url}/_stats").json()
    assert stats["finished"] == 1


def test_it_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.simulators.openai", "--tokens=3", "--rate=0", "--key=K"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        headers = {"Authorization": "Bearer K"}
        answer = httpx.post(
            f"{url}/chat/completions", json=BODY | {"stream": True}, headers=headers
        )
        assert [one[:2] for one in text(events(answer)).split()] == ["0@", "1@", "2@"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
