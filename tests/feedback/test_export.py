"""Votes as a file: what is in it, for whom, and at what cost."""

import csv
import io
import json
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chatwidget.models import Conversation, Message
from feedback import export
from feedback.models import Feedback, Review, State

from ..cast import (
    add_message,
    make_agent,
    make_conversation,
    make_feedback,
    make_operator,
    make_visitor,
    make_widget,
)
from ..server import Server, manage
from ..vitals import Vitals

MANY = 3000
ANSWER = "An answer of some length. " * 800
"""20 KB, of which the file of all has `MANY`."""
MOST_GROWTH = 24 * 1024 * 1024


@pytest.fixture
def no_votes(undone: None) -> None:
    """Begin without any, and leave none."""
    Feedback.objects.all().delete()


def signed_in(**fields: Any) -> Client:
    client = Client()
    client.force_login(make_operator("exporter", **fields))
    return client


def fetch(client: Client, kind: str, query: str = "?show=all", status: int = 200) -> str:
    response = client.get(reverse("admin:feedback_feedback_export", args=[kind]) + query)
    assert response.status_code == status, response.status_code
    return b"".join(response).decode() if response.streaming else ""


def cells(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def make_rated(answer: str = "Yes.", **fields: Any) -> Feedback:
    agent = make_agent("Workshop")
    talk = make_conversation(widget=make_widget(agent, name="Shop"), upstream={"chat": "c-1"})
    asked = add_message(talk, "Are you open?", page={"url": "https://shop.example/hours"})
    said = add_message(
        talk,
        answer,
        role="agent",
        question=asked,
        upstream={"run": "r-1"},
        upstream_id="m-1",
        citations=[{"title": "Hours", "url": "https://shop.example/hours"}],
    )
    return make_feedback(said, **fields)


def test_an_exported_object_holds_all_that_is_known_of_a_rated_answer(no_votes: None) -> None:
    vote = make_rated(comment="It is closed.", reasons=["wrong", "of-old"])
    Feedback.objects.update(review=Review.RESOLVED, note="Told them", owner=make_operator("ann"))
    client = signed_in()
    [line] = fetch(client, "jsonl").splitlines()
    row = json.loads(line)
    message, talk = vote.message, vote.message.conversation
    assert (row["vote"], row["comment"]) == ("down", "It is closed.")
    assert row["reasons"] == [
        {"key": "wrong", "label": "Not correct"},
        {"key": "of-old", "label": "of-old"},
    ]
    assert (row["question"], row["answer"]) == ("Are you open?", "Yes.")
    assert row["citations"] == [{"title": "Hours", "url": "https://shop.example/hours"}]
    assert row["page"] == {"url": "https://shop.example/hours"}
    assert (row["agent"]["name"], row["widget"]["name"]) == ("Workshop", "Shop")
    assert row["ids"] == {
        "message": str(message.pk),
        "question": str(message.question_id),
        "conversation": str(talk.pk),
        "visitor": str(talk.visitor_id),
    }
    assert row["upstream"] == {
        "answer": "m-1",
        "turn": {"run": "r-1"},
        "conversation": {"chat": "c-1"},
    }
    assert row["delivery"]["state"] == "delivered"
    assert row["review"]["state"] == "resolved"
    assert (row["review"]["owner"], row["review"]["note"]) == ("ann", "Told them")
    assert row["times"]["last_change"] == timezone.localtime(vote.updated_at).isoformat(
        timespec="seconds"
    )
    [cell] = cells(fetch(client, "csv"))
    assert (cell["question"], cell["reasons"]) == ("Are you open?", "Not correct; of-old")
    assert cell["upstream_id"] == "m-1"


@pytest.mark.parametrize("sign", list("=+-@\t\r\n＝＋－＠"), ids=lambda sign: f"U+{ord(sign):04X}")
def test_no_cell_is_taken_for_a_formula(no_votes: None, sign: str) -> None:
    formula = sign + "HYPERLINK(0)"
    vote = make_rated(formula, comment=formula, reasons=[formula])
    Message.objects.filter(answers=vote.message).update(text=formula, page={"url": formula})
    client = signed_in()
    [cell] = cells(fetch(client, "csv"))
    for name in ("comment", "question", "answer", "reasons", "page"):
        assert cell[name] == "'" + formula, name
    [line] = fetch(client, "jsonl").splitlines()
    assert json.loads(line)["comment"] == formula  # a program is given what was said


def test_a_cell_may_hold_quotes_separators_and_line_breaks(no_votes: None) -> None:
    words = 'He said "no", then;\r\nleft\u2028 — 再见'
    make_rated(words)
    client = signed_in()
    [cell] = cells(fetch(client, "csv"))
    assert cell["answer"] == words
    [line] = fetch(client, "jsonl").split("\n")[:-1]
    assert json.loads(line)["answer"] == words


def test_what_is_exported_is_what_the_list_shows(no_votes: None) -> None:
    up = make_rated("We are open.", vote="up", delivery=State.FAILED)
    down = make_rated("We are closed.", vote="down")
    none = make_rated("We shall see.", vote=None)
    client = signed_in()

    def exported(query: str) -> list[str]:
        lines = fetch(client, "jsonl", query).splitlines()
        return [json.loads(line)["ids"]["message"] for line in lines]

    every = [str(one.message_id) for one in (none, down, up)]
    assert exported("?show=all") == every  # newest first, as there
    assert exported("?show=all&vote=down") == [str(down.message_id)]
    assert exported("?show=all&delivery=failed") == [str(up.message_id)]
    assert exported("?show=all&q=shall") == [str(none.message_id)]
    assert exported(f"?show=all&agent={up.message.conversation.agent_id}") == [str(up.message_id)]
    listed = client.get(reverse("admin:feedback_feedback_changelist") + "?show=all&vote=down")
    link = reverse("admin:feedback_feedback_export", args=["csv"])
    assert f'href="{link}?show=all&amp;vote=down"' in listed.content.decode()


def test_exporting_needs_a_permission_of_its_own(no_votes: None) -> None:
    make_rated()
    user = make_operator("reader", is_superuser=False)
    client = Client()
    client.force_login(user)
    user.user_permissions.set(Permission.objects.filter(codename="view_feedback"))
    fetch(client, "csv", status=403)
    listed = client.get(reverse("admin:feedback_feedback_changelist") + "?show=all")
    assert "export.csv" not in listed.content.decode()
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_feedback", "export_feedback"])
    )
    assert len(cells(fetch(client, "csv"))) == 1
    fetch(client, "xlsx", status=404)
    fetch(client, "csv", query="?nonsense__of=1", status=404)


def test_a_vote_that_comes_or_goes_meanwhile_doubles_and_loses_no_other(
    no_votes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 2)
    votes = [make_rated(f"Answer {number}") for number in range(6)]
    parts = export.read(Feedback.objects.order_by("-updated_at", "-pk"))
    found = [row["ids"]["message"] for row in next(parts)]
    Feedback.objects.filter(pk=votes[0].pk).update(updated_at=timezone.now())  # voted again
    Conversation.objects.filter(pk=votes[1].message.conversation_id).delete()  # erased
    make_rated("Newer")
    found += [row["ids"]["message"] for part in parts for row in part]
    assert found == [str(one.message_id) for one in reversed(votes) if one != votes[1]]


def test_the_command_writes_the_same(no_votes: None, tmp_path: Path) -> None:
    make_rated("We are open.", vote="up")
    down = make_rated("We are closed.", vote="down")
    out = io.StringIO()
    call_command("export_feedback", stdout=out)
    assert out.getvalue() == fetch(signed_in(), "jsonl")
    today = str(timezone.localdate())
    call_command(
        "export_feedback",
        vote="down",
        agent=str(down.message.conversation.agent_id),
        first=today,
        last=today,
        format="csv",
        output=tmp_path / "votes.csv",
    )
    [cell] = cells((tmp_path / "votes.csv").read_text(encoding="utf-8"))
    assert cell["message_id"] == str(down.message_id)
    out = io.StringIO()
    call_command("export_feedback", last="2001-01-01", stdout=out)
    assert out.getvalue() == ""
    for wrong in (
        {"agent": "me"},
        {"first": "yesterday"},
        {"last": "2024-02-31"},
        {"last": "9999-12-31"},
        {"agent": str(uuid.uuid4())},
        {"widget": "pk_nowhere"},
        {"output": tmp_path / "no" / "such" / "folder"},
        {"output": tmp_path},
    ):
        with pytest.raises(CommandError):
            call_command("export_feedback", **wrong)


# --- at what cost ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(database: None) -> Iterator[list[Feedback]]:
    """Votes on answers that together are more than a server may grow by."""
    visitor = make_visitor(make_widget(make_agent("Talkative")))
    talks = Conversation.objects.bulk_create(
        Conversation(visitor=visitor, agent=visitor.widget.agent) for _ in range(MANY)
    )
    now = timezone.now()
    answers = Message.objects.bulk_create(
        Message(conversation=talk, position=1, role="agent", text=ANSWER, completed_at=now)
        for talk in talks
    )
    whose = {"agent": visitor.widget.agent, "widget": visitor.widget}
    yield Feedback.objects.bulk_create(
        Feedback(message=answer, vote="down", revision=1, **whose) for answer in answers
    )
    visitor.delete()


@pytest.fixture(scope="module")
def own(many: list[Feedback]) -> Iterator[Server]:
    """A server whose memory is counted."""
    with Server(EMBEDDED_WORKER="false") as server:
        yield server
        assert "Traceback" not in server.log(), server.log()


def session_of(username: str) -> dict[str, str]:
    """Sign an operator in; returns the cookie that proves it."""
    client = Client()
    client.force_login(make_operator(username))
    return {"sessionid": client.cookies["sessionid"].value}


def test_an_export_is_sent_while_it_is_made_and_costs_the_server_no_memory(
    own: Server, many: list[Feedback]
) -> None:
    cookies = session_of("counting")
    agent = many[0].agent_id
    path = reverse("admin:feedback_feedback_export", args=["jsonl"])

    def lines(count: int, query: str) -> int:
        """Read so many lines; returns how many bytes they were."""
        read = 0
        with httpx.stream("GET", own.url + path + query, cookies=cookies, timeout=60) as response:
            assert response.status_code == 200
            for number, line in enumerate(response.iter_lines(), 1):
                read += len(line)
                if number == count:
                    break
        return read

    lines(1, "?show=all&q=nothing-like-it")  # what is loaded lazily
    vitals = Vitals(own.pid)
    vitals.forget_peak()
    before = vitals.resident
    assert lines(MANY + 1, f"?show=all&agent={agent}") > len(ANSWER) * MANY
    assert vitals.peak - before < MOST_GROWTH


def test_who_reads_an_export_slowly_costs_the_server_no_memory(
    own: Server, many: list[Feedback]
) -> None:
    cookies = session_of("slow")
    path = reverse("admin:feedback_feedback_export", args=["jsonl"])
    httpx.get(own.url + path + "?show=all&q=nothing-like-it", cookies=cookies, timeout=60)
    vitals = Vitals(own.pid)
    vitals.forget_peak()
    before = vitals.resident
    address = urlsplit(own.url)
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.settimeout(60)
        stalled.connect((address.hostname, address.port))
        request = (
            f"GET {path}?show=all&agent={many[0].agent_id} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Cookie: sessionid={cookies['sessionid']}\r\nConnection: close\r\n\r\n"
        )
        stalled.sendall(request.encode())
        assert stalled.recv(12) == b"HTTP/1.1 200"
        # Others are answered meanwhile, and what is not read is not made.
        for _ in range(20):
            assert httpx.get(own.url + "/healthz", timeout=60).status_code == 200
        assert vitals.peak - before < MOST_GROWTH
        received = 12
        while part := stalled.recv(1 << 20):
            received += len(part)
        assert received > len(ANSWER) * MANY
        assert vitals.peak - before < MOST_GROWTH


def test_the_command_runs_in_a_process_of_its_own(many: list[Feedback]) -> None:
    out = manage("export_feedback", "--agent", str(many[0].agent_id), "--vote", "down")
    assert len(out.splitlines()) == MANY


def test_who_leaves_in_the_middle_of_an_export_leaves_nothing_behind(
    own: Server, many: list[Feedback]
) -> None:
    cookies = session_of("hasty")
    path = reverse("admin:feedback_feedback_export", args=["csv"])
    for _ in range(40):  # more than there are threads for requests
        with httpx.stream("GET", f"{own.url}{path}?show=all", cookies=cookies) as response:
            next(response.iter_bytes())
    page = httpx.get(own.url + "/admin/login/", timeout=60)
    assert page.status_code == 200
