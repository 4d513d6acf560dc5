"""E4: who may frame what. The panel by the widget's setting, everything else by nobody."""

import httpx
import pytest
from django.core.exceptions import ValidationError
from django.db import DataError
from playwright.sync_api import Page, expect

from chatwidget.admin.fields import OriginsField
from chatwidget.models import Widget

from ..server import Server
from ..widget.conftest import Site, browser, complaints, context, page, site  # noqa: F401
from .conftest import fast_widget, operator

TYPED = [
    "*",
    "*.com",
    "https://*",
    "https://*.shop.example",
    "'self'",
    "'none'",
    "'unsafe-inline'",
    "https:",
    "data:",
    "blob:",
    "null",
    ";script-src *",
    "https://a.example;script-src *",
    "https://a.example; frame-ancestors *",
    "https://a.example, https://b.example",
    "https://a.example https://evil.test",
    "https://a.example\r\nX-Injected: 1",
    "https://a.example\nSet-Cookie: a=1",
    "https://a.example\rSet-Cookie: a=1",
    "https://a.example\x00",
    "https://a.example\x0b",
    "https://a.example\u2028X-Injected: 1",
    "https://a.example\u0085X-Injected: 1",
    "https://a.example\u00a0https://evil.test",
    "https://a.example%0d%0aX-Injected:1",
    "https://a.example'",
    'https://a.example"',
    "https://a.example`",
    "https://a.example<script>",
    "https://a.example\\@evil.test",
    "https://user:pw@a.example",
    "https://a.example/path",
    "https://a.example?x",
    "https://a.example#x",
    "https://a.example:99999",
    "https://a.example:80;",
    "javascript://a.example",
    "ftp://a.example",
    "//a.example",
    "https://",
    "https://例え.example",
    "https://faß.example",
    "https://" + "a" * 5000 + ".example",
]
DIRECTIVES = [
    "default-src",
    "script-src",
    "style-src",
    "img-src",
    "connect-src",
    "base-uri",
    "form-action",
    "require-trusted-types-for",
    "frame-ancestors",
]


def panel(server: Server, widget: Widget) -> httpx.Response:
    return httpx.get(f"{server.url}/w/{widget.key}/", trust_env=False)


def framers(answer: httpx.Response) -> list[str]:
    """Return who may frame the page, having checked that its policy has nothing else new."""
    [policy] = answer.headers.get_list("content-security-policy")
    found = [directive.split() for directive in policy.split(";")]
    assert [one[0] for one in found] == DIRECTIVES
    assert found[1][1:] == ["'self'"]
    assert "set-cookie" not in answer.headers
    assert "x-injected" not in answer.headers
    return found[-1][1:]


def test_the_panel_names_the_sites_that_may_show_it(server: Server) -> None:
    widget = fast_widget(origins=["https://a.example", "http://b.example:8080"])
    answer = panel(server, widget)
    assert framers(answer) == ["'self'", "https://a.example", "http://b.example:8080"]
    assert "x-frame-options" not in answer.headers  # it knows no list; browsers would obey it
    assert framers(panel(server, fast_widget())) == ["'self'"]


def test_forty_hostile_origins_change_no_header(server: Server) -> None:
    assert len(TYPED) >= 40
    widget = fast_widget()
    plain = set(panel(server, widget).headers)
    for typed in TYPED:
        try:
            widget.origins = OriginsField().clean(typed)  # as the admin's form takes it
        except ValidationError:
            widget.origins = [typed]  # as a careless script could store it
        try:
            widget.save()
        except DataError:
            continue  # PostgreSQL takes no NUL at all
        answer = panel(server, widget)
        assert set(answer.headers) == plain, typed
        allowed = framers(answer)[1:]
        assert all(one.startswith("https://") and one.isascii() for one in allowed), typed
        assert "evil.test" not in " ".join(allowed)


def test_unknown_widgets_and_wrong_methods_can_be_framed_by_nobody(server: Server) -> None:
    answer = httpx.get(f"{server.url}/w/pk_nobody/", trust_env=False)
    assert (answer.status_code, framers(answer)) == (404, ["'self'"])
    answer = httpx.post(f"{server.url}/w/{fast_widget().key}/", trust_env=False)
    assert answer.status_code in (403, 405)
    assert_unframable(answer)


def assert_unframable(answer: httpx.Response) -> None:
    call = f"{answer.request.url} → {answer.status_code}"
    assert answer.headers.get_list("x-frame-options") == ["DENY"], call
    [policy] = answer.headers.get_list("content-security-policy")
    assert "frame-ancestors 'none'" in policy, call
    assert answer.headers["x-content-type-options"] == "nosniff", call


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/widget.js",
        "/healthz",
        "/readyz",
        pytest.param(
            "/metrics",
            marks=pytest.mark.default_stack("nginx does not pass it"),
        ),
        "/nothing",
        "/admin/",
        "/admin/login/",
        "/admin/nothing",
        "/static/chatwidget/panel.js",
        "/static/nothing.js",
        "/api/v1/schema",
        "/api/v1/docs",
        "/api/v1/docs?script=",
        "/api/v1/conversations",
        "/api/v1/widgets/pk_nobody",
        "/api/nothing",
        "/w/",
        "/w/x",
    ],
)
def test_nothing_else_can_be_framed_by_anybody(server: Server, path: str) -> None:
    for headers in ({}, {"Host": "evil.test"}):
        assert_unframable(httpx.get(server.url + path, headers=headers, trust_env=False))


def test_too_large_a_body_is_refused_with_the_same_headers(server: Server) -> None:
    answer = httpx.post(
        f"{server.url}/api/v1/conversations", content=b" " * 70_000, trust_env=False
    )
    assert answer.status_code == 413
    assert_unframable(answer)


def test_the_admin_can_be_framed_by_nobody(server: Server) -> None:
    with operator(server) as client:
        for path in ("", "chatwidget/widget/", "chatwidget/agent/add/", "feedback/feedback/"):
            answer = client.get(f"/admin/{path}")
            assert answer.status_code == 200
            assert_unframable(answer)


def test_a_browser_shows_the_panel_on_an_allowed_site_and_not_elsewhere(
    server: Server,
    page: Page,  # noqa: F811
    site: Site,  # noqa: F811
) -> None:
    widget = fast_widget(origins=[site.origin])
    site.body = f'<iframe src="{server.url}/w/{widget.key}/" width=400 height=600></iframe>'
    page.goto(site.origin)
    expect(page.frame_locator("iframe").get_by_role("log")).to_be_visible()

    widget.origins = [site.origin.replace("127.0.0.1", "localhost")]  # the same place, other name
    widget.save()
    with page.expect_console_message(lambda said: "frame-ancestors" in said.text):
        page.goto(site.origin)
    expect(page.frame_locator("iframe").get_by_role("log")).to_have_count(0)
