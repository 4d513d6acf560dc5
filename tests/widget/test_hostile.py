"""Model output is hostile: whatever an answer says, it runs nothing and fetches nothing.

The panel is the real one, on a page of its own. All that ever enters its document is looked at by
an observer; all requests, dialogs and reports of a broken policy are recorded.
"""

import json
import os
import random
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from chatwidget.models import Conversation, Message, Role, Widget
from tests.cast import add_message
from tests.reliability.report import percentile, sized
from tests.server import ROOT, Server
from tests.simulators.openai import OpenAISimulator

PAYLOADS: list[str] = json.loads((ROOT / "frontend/tests/hostile.json").read_text())
ELEMENTS = """
a bdi blockquote br button code del div em form h1 h2 h3 h4 h5 h6 hr i li ol p path pre rect small
span strong svg table tbody td textarea th thead tr ul
"""
ATTRIBUTES = """
aria-atomic aria-describedby aria-disabled aria-expanded aria-hidden aria-invalid aria-label
aria-live aria-pressed class d data-status dir disabled enterkeyhint height href id placeholder rel
role rows rx scope start style tabindex target title type viewBox width x y
"""

WATCH = """
(([elements, attributes]) => {
  window.seen = new Set();
  window.draws = [];
  const check = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE || !document.body?.contains(node)) return;
    for (const each of [node, ...node.querySelectorAll("*")]) {
      if (each.closest("#app") === null || each.id === "app") continue;
      if (!elements.includes(each.localName)) seen.add("<" + each.localName + ">");
      for (const { name } of each.attributes) {
        if (!attributes.includes(name)) seen.add(each.localName + "[" + name + "]");
      }
      // The panel's own: the height of the box one writes in.
      if (each.hasAttribute("style") && each.localName !== "textarea") seen.add("style");
      if (!each.hasAttribute("href")) continue;
      if (!["http:", "https:", "mailto:"].includes(each.protocol)) seen.add(each.href);
      if (each.rel !== "noopener noreferrer nofollow") seen.add("rel");
      if (each.target !== "_blank") seen.add("target");
    }
  };
  new MutationObserver((changes) => {
    for (const change of changes) {
      if (change.type === "attributes") check(change.target);
      for (const node of change.addedNodes) check(node);
    }
  }).observe(document, { childList: true, subtree: true, attributes: true });
  addEventListener("securitypolicyviolation", (event) => seen.add("policy: " + event.blockedURI));
  const frame = requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) => frame((time) => {
    const start = performance.now();
    draw(time);
    draws.push(performance.now() - start);
  });
})
"""


class Lab:
    """A panel that is shown hostile answers, and what came of it."""

    def __init__(self, page: Page, context: BrowserContext, server: Server, widget: Widget) -> None:
        self.page, self.server, self.widget = page, server, widget
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.line: WebSocketRoute | None = None
        context.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.add_init_script(f"{WATCH}({json.dumps([ELEMENTS.split(), ATTRIBUTES.split()])})")
        # A browser asks for it where a page names none.
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.route_web_socket("**/ws/v1/", self._connect)
        page.goto(f"{server.url}/w/{widget.key}/")
        page.get_by_role("textbox").fill("Hi")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Good answer")).to_be_visible()

    def _connect(self, route: WebSocketRoute) -> None:
        """Let everything through; this test's frames go in beside the service's."""
        route.connect_to_server()
        self.line = route

    @property
    def conversation(self) -> Conversation:
        return Conversation.objects.get(visitor__widget=self.widget)

    def say(self, frame: dict[str, object]) -> None:
        assert self.line is not None
        self.line.send(json.dumps(frame))

    def drawn(self, since: int) -> int:
        """Wait until the panel has drawn once more than `since` times; return how often."""
        self.page.wait_for_function("count => draws.length > count", arg=since, polling="raf")
        return int(self.page.evaluate("draws.length"))

    def stream(self, message: dict[str, object], pieces: list[str]) -> None:
        """Have the panel draw an answer after each of its pieces."""
        count = int(self.page.evaluate("draws.length"))
        begun = message | {"text": "", "status": "streaming", "seq": 0}
        self.say({"type": "message", "message": begun})
        count = self.drawn(count)
        for seq, piece in enumerate(pieces, 1):
            self.say(
                {
                    "type": "delta",
                    "conversation": message["conversation"],
                    "message_id": message["id"],
                    "seq": seq,
                    "text": piece,
                }
            )
            count = self.drawn(count)
        ended = begun | {"text": "".join(pieces), "status": "completed", "seq": len(pieces)}
        self.say({"type": "message", "message": ended})
        self.drawn(count)

    def answer(self) -> dict[str, object]:
        """Return the conversation's answer as the protocol has it."""
        stored = Message.objects.get(conversation=self.conversation, role=Role.AGENT)
        return {
            "id": str(stored.pk),
            "conversation": str(stored.conversation_id),
            "role": "agent",
            "created_at": stored.created_at.isoformat(),
            "completed_at": None,
            "citations": [],
            "attachments": [],
            "feedback": None,
            "error": None,
            "rateable": True,
        }

    def check(self) -> None:
        """Raise AssertionError for anything that entered the document, ran, or left the browser."""
        assert self.page.evaluate("[...seen]") == []
        assert self.page.evaluate("window.hacked") is None
        assert self.faults == []
        ours = urlsplit(self.server.url).netloc
        assert [url for url in self.requests if urlsplit(url).netloc != ours] == []


@pytest.fixture
def lab(
    page: Page,
    context: BrowserContext,
    server: Server,
    widget: Widget,
    openai: OpenAISimulator,
    complaints: list[str],
) -> Iterator[Lab]:
    lab = Lab(page, context, server, widget)
    yield lab
    assert complaints == []


def test_there_are_enough_of_them() -> None:
    assert len(set(PAYLOADS)) >= 150


def test_hostile_answers_that_are_stored_do_nothing(lab: Lab) -> None:
    """F1, F2: every payload as a whole answer, and as a source's title and address."""
    conversation = lab.conversation
    lab.page.goto("about:blank")
    for payload in PAYLOADS:
        source = {"title": payload, "url": payload.removeprefix("[x](").removesuffix(")")}
        add_message(
            conversation,
            payload.replace("\0", ""),
            role=Role.HUMAN if len(payload) % 7 == 0 else Role.AGENT,
            citations=[json.loads(json.dumps(source).replace("\\u0000", ""))],
        )
    lab.page.goto(f"{lab.server.url}/w/{lab.widget.key}/")
    earlier = lab.page.get_by_role("button", name="Show earlier messages")
    expect(lab.page.get_by_text(PAYLOADS[-1].split("\n")[0][:10]).last).to_be_visible()
    while earlier.count():
        with lab.page.expect_response("**/messages?before=*"):
            earlier.press("Enter")
        expect(lab.page.get_by_role("button", name="Loading…")).to_have_count(0)
    expect(lab.page.locator(".answer")).to_have_count(len(PAYLOADS) + 1)
    lab.check()


@sized("sample", gate=(10, 2), full=(len(PAYLOADS), 20))
def test_hostile_answers_that_stream_do_nothing_at_any_moment(
    lab: Lab, sample: tuple[int, int]
) -> None:
    """F1: character by character, and cut at random."""
    count, splits = sample
    answer = lab.answer()
    chance = random.Random(seed := int(os.environ.get("SEED", random.randrange(10**6))))
    print(f"seed {seed}")
    for payload in chance.sample(PAYLOADS, count):
        lab.stream(answer, list(payload))
        for _ in range(splits):
            cuts = sorted(chance.sample(range(1, len(payload)), min(4, len(payload) - 1)))
            ends = zip([0, *cuts], [*cuts, len(payload)], strict=True)
            lab.stream(answer, [payload[start:end] for start, end in ends])
        lab.check()


BLOCKS = [
    "## A heading with `code` and *words*\n\n",
    "Some **bold**, [a link](https://docs.test/a) and ![an image](https://evil.test/i.png).\n\n",
    "- one\n- two\n  - three\n\n1. first\n2. second\n\n",
    "| a | b |\n| - | -: |\n| 1 | [x](javascript:window.hacked=1) |\n\n",
    "```js\nconst a = `<script>window.hacked=1</script>`;\n```\n\n",
    "> quoted <img src=x onerror=window.hacked=1>\n\n",
]


@sized("step", gate=100, full=1)
def test_a_long_answer_is_drawn_quickly_at_every_length(lab: Lab, step: int) -> None:
    """F4: 10,000 characters, cut anywhere: allowed elements only, and 16 ms an update (p95)."""
    text = "".join(BLOCKS[i % len(BLOCKS)] for i in range(200))[:10_000]
    lab.page.evaluate("draws.length = 0")
    lab.stream(lab.answer(), [text[i : i + step] for i in range(0, len(text), step)])
    lab.check()
    p95 = percentile(lab.page.evaluate("draws"), 95)
    print(f"p95 of an update: {p95:.1f} ms")
    assert p95 <= (16 if step == 1 else 100), "the gate's machine may be busy with others"
