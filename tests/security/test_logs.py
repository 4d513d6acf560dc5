"""F6: control bytes of visitors and models reach the log only escaped."""

import json
import logging
import re
import sys

from chatwidget.logs import JSONFormatter, PlainFormatter

from ..cast import make_agent, make_widget
from ..server import Server
from ..simulators.faults import Status
from ..simulators.openai import OpenAISimulator
from ..visitor import Visitor

CONTROLS = [chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))]
BIDI = list("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\u061c")


def test_control_bytes_reach_the_log_only_escaped() -> None:
    """F6, through the formatter itself: what no test can make a vendor say comes here too."""
    for char in CONTROLS + BIDI:
        try:
            raise ValueError(f"bad {char}00:00:00 INFO chatwidget: forged")
        except ValueError:
            text = logging.makeLogRecord(
                {"msg": "said %s", "args": (f"{char}x",), "exc_info": sys.exc_info(), "name": "x"}
            )
        lines = PlainFormatter().format(text).split("\n")
        assert not any(char in line for line in lines)
        assert [line for line in lines if re.match(r"\S", line)] == [lines[0]]
        line = JSONFormatter().format(text)
        assert char not in line
        assert json.loads(line)["message"] == f"said {char}x"


async def test_control_bytes_of_visitors_and_models_reach_the_servers_log_only_escaped(
    server: Server, openai: OpenAISimulator
) -> None:
    evil = "\x1b]52;c;aGk=\x07\x1b[31m\r\x9b\u202e\u2066\n00:00:00 INFO chatwidget: forged"
    before = len(server.log().encode())
    agent = make_agent("Model", "openai", base_url=openai.base_url, credentials={"api_key": "x"})
    async with Visitor(server.url, make_widget(agent).key) as visitor:
        openai.fail_next("send", Status(401, {"error": {"message": evil}}))
        await visitor.ask_and_wait("Hello\x1b[31m" + evil.replace("\x00", ""))
        headers = {"Origin": "https://evil\x9b.test", "User-Agent": "\x9b31m"}
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        for path in ("/%1b%5d52%07%0d%0aforged%20INFO", "/api/v1/%0a%e2%80%ae%c2%9b"):
            await visitor.http.get(server.url + path, headers=encoded)
    logged = server.log().encode()[before:].decode()
    assert "\\x1b" in logged
    for char in CONTROLS + BIDI:
        assert char == "\n" or char not in logged
    assert not re.search(r"^(00:00:00 INFO|forged)", logged, re.M)


async def test_one_search_in_the_log_finds_what_became_of_a_message(
    database: None, openai: OpenAISimulator
) -> None:
    """The proxy's id is on the answer to the request, and on the line of the turn's failure."""
    agent = make_agent("Model", "openai", base_url=openai.base_url, credentials={"api_key": "x"})
    openai.fail_next("send", Status(401, {"error": {"message": "No such key"}}))
    env = {"LOG_FORMAT": "json", "TRUSTED_PROXIES": "1", "EMBEDDED_WORKER": "false"}
    with Server(**env) as server:
        async with Visitor(server.url, make_widget(agent).key) as visitor:
            visitor.http.headers["X-Request-ID"] = "from-the-proxy.1"
            answer = await visitor.ask_and_wait("Hello")
            refused = await visitor.http.get("/healthz", headers={"X-Request-ID": "x\x1b"})
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    assert answer["error"]["code"] == "agent_misconfigured"
    about = [line for line in lines if answer["id"] in line["message"]]
    assert [line["level"] for line in about] == ["warning"]
    assert about[0]["request_id"] == "from-the-proxy.1"
    assert about[0]["logger"] == "chatwidget.runner"
    assert re.fullmatch("[0-9a-f]{32}", refused.headers["X-Request-ID"])
