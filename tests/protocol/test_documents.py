"""What the service says of itself: its OpenAPI document, and the page that shows it."""

from pathlib import Path

import httpx
import pytest
from django.core.management import call_command
from playwright.sync_api import Page, Request, expect

from chatwidget.problems import PROBLEMS
from chatwidget.serializers import ERROR_TEXTS

from ..server import Server
from ..widget.conftest import browser, complaints, context, page  # noqa: F401
from .contract import Contract

CALLS = {
    "/widgets/{key}": {"get": 200},
    "/widgets/{key}/sessions": {"post": 201},
    "/conversations": {"get": 200, "post": 201},
    "/conversations/{id}/read": {"post": 204},
    "/conversations/{id}/messages": {"get": 200, "post": 201},
    "/messages/{id}/stop": {"post": 202},
    "/messages/{id}/retry": {"post": 201},
    "/messages/{id}/feedback": {"put": 200, "delete": 204},
    "/visitor": {"delete": 204},
    # Of our own making: the protocol names a question's `attachments`, and not how they come.
    "/attachments": {"post": 201},
    "/attachments/{id}": {"delete": 204},
}
FIELDS = {
    "SessionOut": "token visitor widget conversations",
    "ConversationOut": "id title mode created_at updated_at unread",
    "MessageOut": "id conversation role text status seq created_at completed_at citations "
    "attachments feedback error rateable",
    "FeedbackOut": "vote comment reasons updated_at delivery",
    "CitationOut": "title url",
    "ProblemOut": "type title status detail code errors retry_after",
}
CODES = {
    "invalid": 422,
    "origin_not_allowed": 403,
    "widget_not_found": 404,
    "widget_paused": 403,
    "token_invalid": 401,
    "token_expired": 401,
    "not_found": 404,
    "message_id_reused": 409,
    "answer_in_progress": 409,
    "retry_not_allowed": 409,
    "rate_limited": 429,
    "payload_too_large": 413,
    "feedback_not_allowed": 409,
}


def test_the_document_is_valid_and_made_without_a_warning(tmp_path: Path) -> None:
    file = str(tmp_path / "schema.yaml")
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", file)


def test_the_document_has_every_call_of_the_protocol(contract: Contract) -> None:
    found = {
        path.removeprefix("/api/v1"): operations
        for path, operations in contract.document["paths"].items()
    }
    assert set(found) == set(CALLS)
    for path, methods in CALLS.items():
        assert set(found[path]) == set(methods), path
        for method, status in methods.items():
            assert str(status) in found[path][method]["responses"]
            needs_token = not path.startswith("/widgets")
            assert bool(found[path][method].get("security")) == needs_token, path


@pytest.mark.parametrize("name", FIELDS)
def test_the_document_has_every_field_of_the_protocol(contract: Contract, name: str) -> None:
    schema = contract.document["components"]["schemas"][name]
    assert set(FIELDS[name].split()) <= set(schema["properties"])


def test_every_code_of_the_protocol_has_its_status() -> None:
    assert {code: PROBLEMS[code][0] for code in CODES} == CODES
    assert set(ERROR_TEXTS) == {
        "agent_unavailable",
        "agent_timeout",
        "agent_rejected",
        "agent_misconfigured",
        "interrupted",
    }


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("*/*", "application/json"), ("application/yaml", "application/yaml")],
)
def test_the_document_comes_as_json_unless_yaml_is_asked_for(
    server: Server, accept: str, kind: str
) -> None:
    answer = httpx.get(f"{server.url}/api/v1/schema", headers={"Accept": accept}, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert "set-cookie" not in answer.headers


def test_the_human_page_needs_no_other_host_and_breaks_no_policy(
    server: Server,
    page: Page,  # noqa: F811
    complaints: list[str],  # noqa: F811
) -> None:
    asked: list[str] = []

    def heard(request: Request) -> None:
        asked.append(request.url)

    page.on("request", heard)
    page.goto(f"{server.url}/api/v1/docs")
    expect(page.get_by_text("Visitor API")).to_be_visible()
    expect(page.get_by_text("/api/v1/visitor", exact=True)).to_be_visible()
    page.get_by_text("/api/v1/visitor", exact=True).click()
    expect(page.get_by_text("Erase the visitor with everything kept about them.")).to_be_visible()
    assert complaints == []
    assert [url for url in asked if not url.startswith((server.url, "data:"))] == []
    assert page.context.cookies() == []
