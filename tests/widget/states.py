"""Every state that a panel can be seen in, and how a visitor comes to it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, Route, expect

from chatwidget.models import Conversation, Message, Mode, Role, Widget
from tests.cast import add_message, make_agent
from tests.server import Server
from tests.simulators.faults import Status
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site, embed

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

ANSWER = """Yes, on Saturdays too. In short:

| Day | Hours |
| --- | --- |
| Monday to Friday | 9:00 to 18:00 |
| Saturday | 10:00 to 14:00 |

1. **Bring** the bike, and [your booking](https://cycles.test/booking).
2. Wait for our *message*.

> Closed on public holidays.
"""

LONG = "\n\n".join(
    [
        "## Choosing a tyre",
        "A tyre is a compromise between grip, speed and how long it lasts. " * 4,
        "### On the road",
        "- Narrow and hard, where the ground is smooth\n- Wide and soft, where it is not",
        "What matters more than the profile is the pressure, and few ever measure it. " * 3,
        "### In the woods",
        "Take the widest that the frame has room for. " * 6,
    ]
)

CODE = """Install it, then start it with `make run`:

```sh
python3 -m venv .venv && .venv/bin/pip install --require-hashes -r requirements.txt
make run PORT=8123
```

```python
def answer(question: str) -> str:
    \"\"\"Return the only answer there is.\"\"\"
    return "42" if question else ""
```
"""

ARABIC = """نعم، ويوم السبت أيضًا. باختصار:

| اليوم | الساعات |
| --- | --- |
| الاثنين إلى الجمعة | 9:00 – 18:00 |
| السبت | 10:00 – 14:00 |

1. أحضر الدراجة و[الحجز](https://cycles.test/booking).
2. شغّل `make run` وانتظر رسالتنا.

```sh
make run PORT=8123
```
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a state is made of."""

    page: Page
    site: Site
    widget: Widget
    server: Server
    model: OpenAISimulator

    def enter(self, **fields: object) -> Bubble:
        """Open the panel of the widget, with these settings, on the site."""
        for name, value in fields.items():
            setattr(self.widget, name, value)
        self.widget.save()
        embed(self.site, self.widget, self.server)
        self.page.goto(self.site.origin)
        return Bubble(self.page).open()

    def again(self) -> Bubble:
        """Come back to the same page."""
        self.page.reload()
        return Bubble(self.page).open()

    def answered(self, *tokens: str, question: str = "Are you open on Saturday?") -> Bubble:
        self.model.tokens = list(tokens)
        bubble = self.enter()
        bubble.ask(question)
        bubble.finished()
        return bubble

    @property
    def conversation(self) -> Conversation:
        return Conversation.objects.get(visitor__widget=self.widget)


def empty(scene: Scene) -> None:
    scene.enter()


def waiting(scene: Scene) -> None:
    scene.model.odd.stall_after = 0
    bubble = scene.enter()
    bubble.ask("Are you open on Saturday?")
    expect(bubble.panel.locator(".dots")).to_be_visible()
    expect(bubble.button("Stop answer")).to_be_visible()


def streaming(scene: Scene) -> None:
    scene.model.tokens = [ANSWER[:90], ANSWER[90:]]
    scene.model.odd.stall_after = 1
    bubble = scene.enter()
    bubble.ask("Are you open on Saturday?")
    bubble.shows("Yes, on Saturdays too.")
    expect(bubble.panel.locator(".md .plain")).to_have_count(0)


def answered(scene: Scene) -> None:
    bubble = scene.answered(ANSWER)
    Message.objects.filter(conversation=scene.conversation, role=Role.AGENT).update(
        citations=[
            {"title": "Opening hours", "url": "https://cycles.test/hours"},
            {"title": "How we work", "url": "https://cycles.test/work"},
        ]
    )
    bubble = scene.again()
    bubble.shows("How we work")


def failed(scene: Scene) -> None:
    scene.model.fail_next("send", Status(500))
    bubble = scene.enter()
    bubble.ask("Are you open on Saturday?")
    bubble.shows("The assistant cannot be reached right now.")


def offline(scene: Scene) -> None:
    bubble = scene.answered("Yes, from ten to two.")
    scene.page.context.set_offline(True)
    bubble.ask("And on Sunday?")
    bubble.shows("Not sent yet.")
    expect(bubble.panel.get_by_text("You are offline.")).to_be_visible()


def paused(scene: Scene) -> None:
    scene.widget.paused = True
    scene.widget.save()
    embed(scene.site, scene.widget, scene.server)
    scene.page.goto(scene.site.origin)
    bubble = Bubble(scene.page)
    bubble.launcher.click()
    expect(bubble.panel.get_by_text("This chat is taking a break.")).to_be_visible()


def human(scene: Scene) -> None:
    scene.answered("I can hand you over to the workshop.")
    conversation = scene.conversation
    conversation.mode = Mode.HUMAN
    conversation.save()
    add_message(conversation, "Anna here, hello!\nWhat is it about?", role=Role.HUMAN)
    bubble = scene.again()
    bubble.shows("Anna here, hello!")
    expect(bubble.panel.get_by_text("A person is answering")).to_be_visible()


def limited(scene: Scene) -> None:
    def too_many(route: Route) -> None:
        if route.request.method != "POST":
            route.fallback()
            return
        body = {"code": "rate_limited", "status": 429, "title": "Slow down", "retry_after": 30}
        route.fulfill(status=429, json=body, headers={"Retry-After": "30"})

    scene.page.route("**/api/v1/conversations/*/messages", too_many)
    bubble = scene.enter()
    bubble.ask("Are you open on Saturday?")
    bubble.shows("That was a lot of messages in a short time.")


def long(scene: Scene) -> None:
    bubble = scene.answered(LONG, question="Tell me all about tyres. " * 8)
    expect(bubble.button("Jump to latest")).to_be_visible()


def code(scene: Scene) -> None:
    bubble = scene.answered(CODE, question="How do I start it?")
    expect(bubble.panel.locator("pre")).to_have_count(2)


def comment(scene: Scene) -> None:
    bubble = scene.answered("Yes, from ten to two.")
    bubble.down.click()
    bubble.button("Incomplete").click()
    expect(bubble.panel.get_by_role("textbox", name="What was wrong with it?")).to_be_visible()
    expect(bubble.button("Incomplete")).to_have_attribute("aria-pressed", "true")


def files(scene: Scene) -> None:
    agent = make_agent(options={"think_s": 0, "words_per_s": 10_000})
    bubble = scene.enter(agent=agent, attachments_enabled=True)

    def pick(name: str, size: int) -> None:
        file = bubble.panel.locator("input[type=file]")
        file.set_input_files({"name": name, "mimeType": "", "buffer": b"x" * size})
        expect(bubble.panel.locator("form").get_by_text(name)).to_be_visible()

    expect(bubble.button("Attach files")).to_be_visible()
    pick("The sound it makes, described as well as I can.txt", 2_000)
    bubble.ask("What is this noise?")
    bubble.finished()
    pick("photo.jpg", 1_800_000)
    pick("noise.wav", 9)
    expect(bubble.button("Send message")).to_be_enabled()


def menu(scene: Scene) -> None:
    bubble = scene.answered("Yes, from ten to two.")
    bubble.button("More").click()
    expect(bubble.button("Delete my data")).to_be_visible()


def erasing(scene: Scene) -> None:
    menu(scene)
    bubble = Bubble(scene.page)
    bubble.button("Delete my data").click()
    expect(bubble.button("Delete everything")).to_be_visible()


def history(scene: Scene) -> None:
    scene.answered("Yes, from ten to two.")
    first = scene.conversation
    for days, title in enumerate(["A creak in the bottom bracket, again", "Prices for a service"]):
        Conversation.objects.create(
            visitor=first.visitor, agent=first.agent, title=title, unread=1 - days
        )
    at = NOON
    for one in Conversation.objects.filter(visitor=first.visitor).order_by("created_at"):
        Conversation.objects.filter(pk=one.pk).update(created_at=at, updated_at=at)
        at -= timedelta(days=1, hours=3)
    bubble = scene.again()
    bubble.button("Conversations").click()
    expect(bubble.panel.get_by_role("list").get_by_role("button")).to_have_count(3)


def arabic(scene: Scene) -> None:
    scene.model.tokens = [ARABIC]
    greeting, title = "أهلًا بك! كيف يمكننا مساعدتك؟", "ورشة الدراجات"
    bubble = scene.enter(
        locale="ar", greeting=greeting, title=title, starters=["ما هي ساعات العمل؟"]
    )
    bubble.ask("هل تفتحون يوم السبت؟")
    expect(bubble.panel.locator(".thumbs")).to_be_visible()


STATES: dict[str, Callable[[Scene], None]] = {
    one.__name__: one
    for one in (
        empty, waiting, streaming, answered, failed, offline, paused, human, limited, long, code,
        comment, files, menu, erasing, history, arabic,
    )
}  # fmt: skip
