"""The live preview on a widget's page in the admin: the real panel, as the form would have it."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import BrowserContext, Frame, FrameLocator, Locator, Page, expect

from chatwidget.models import Visitor, Widget
from tests.cast import make_operator, make_widget
from tests.server import Server

from .test_for_everyone import violations

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
KEPT = "JSON.stringify([localStorage, sessionStorage, document.cookie])"


@pytest.fixture
def shop() -> Iterator[Widget]:
    widget = make_widget(name="Website", locale="en", title="Shop", starters=["What can you do?"])
    yield widget
    widget.delete()
    widget.agent.delete()


@pytest.fixture
def operator(context: BrowserContext, server: Server) -> Iterator[User]:
    """Signed in, in the browser."""
    user = make_operator("operator-of-the-preview")
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": server.url}])
    yield user
    user.delete()


@pytest.fixture
def form(page: Page, operator: User, shop: Widget, server: Server) -> "Form":
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(server.url + reverse("admin:chatwidget_widget_change", args=[shop.pk]))
    return Form(page)


class Form:
    """The widget's page, and what the operator sees in its preview."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.aside = page.get_by_role("complementary", name="Live preview")
        self.bubble = self.aside.locator("button[aria-haspopup=dialog]")
        self.panel: FrameLocator = self.aside.frame_locator("iframe")
        self.root = self.panel.locator("html")
        self.log = self.panel.get_by_role("log")
        expect(self.panel.get_by_text("When are you open?")).to_be_visible()

    def field(self, name: str) -> Locator:
        return self.page.locator(f"[name={name}]")

    @property
    def frame(self) -> Frame:
        return next(frame for frame in self.page.frames if "/preview/" in frame.url)

    def in_panel(self, script: str) -> object:
        return self.frame.evaluate(script)


def test_looks_and_words_are_seen_as_they_are_typed(form: Form, complaints: list[str]) -> None:
    form.field("title").fill("")
    form.field("title").press_sequentially("Otterbridge")
    expect(form.panel.get_by_role("heading", name="Otterbridge", exact=True)).to_be_visible()
    form.field("subtitle").fill("By the bridge")
    expect(form.panel.get_by_text("By the bridge")).to_be_visible()
    form.field("greeting").fill("Ahoy, **sailor**")
    expect(form.log.locator("strong", has_text="sailor")).to_be_visible()
    form.field("disclaimer").fill("May be wrong.")
    expect(form.panel.get_by_text("May be wrong.")).to_be_visible()
    form.field("texts").fill("placeholder: Ask away\nrate: Was it good?")
    expect(form.panel.get_by_placeholder("Ask away")).to_be_visible()
    form.field("label").fill("Chat with the workshop")
    expect(form.bubble).to_have_accessible_name("Chat with the workshop")
    question = form.log.get_by_text("When are you open?").locator("..")
    for color, shown, ink in (
        ("#ffcc00", "rgb(255, 204, 0)", "rgb(0, 0, 0)"),
        ("#003300", "rgb(0, 51, 0)", "rgb(255, 255, 255)"),
    ):
        form.field("color").fill(color)
        expect(form.bubble).to_have_css("background-color", shown)
        expect(question).to_have_css("background-color", shown)
        expect(question).to_have_css("color", ink)
    assert complaints == []


def test_the_theme_is_seen_and_auto_follows_the_system(form: Form) -> None:
    form.field("theme").select_option("dark")
    expect(form.root).to_have_attribute("data-theme", "dark")
    form.field("theme").select_option("light")
    expect(form.root).to_have_attribute("data-theme", "light")
    form.field("theme").select_option("auto")
    form.page.emulate_media(color_scheme="dark")
    expect(form.root).to_have_attribute("data-theme", "dark")


def test_the_bubble_goes_to_its_corner(form: Form) -> None:
    stage, right = form.aside.bounding_box(), form.bubble.bounding_box()
    assert stage
    assert right
    assert right["x"] > stage["x"] + stage["width"] / 2
    form.field("position").select_option("left")
    expect(form.bubble).to_have_css("left", "20px")
    left = form.bubble.bounding_box()
    assert left
    assert left["x"] < stage["x"] + stage["width"] / 2


def test_the_panel_closes_and_opens_as_on_a_site(form: Form) -> None:
    form.panel.get_by_role("button", name="Close chat").click()
    expect(form.log).to_be_hidden()
    form.bubble.click()
    expect(form.log).to_be_visible()
    form.bubble.click()
    expect(form.log).to_be_hidden()
    form.field("starters").focus()
    expect(form.log).to_be_visible()


def test_starters_and_reasons_are_seen_where_visitors_meet_them(form: Form) -> None:
    form.field("starters").fill("Where are you?\nDo you rent bikes?")
    starters = form.panel.get_by_role("group", name="Suggestions").get_by_role("button")
    expect(starters).to_have_text(["Where are you?", "Do you rent bikes?"])
    form.field("reasons_down").fill("wrong: Not right\nToo long")
    expect(form.panel.get_by_text("What was wrong with it?")).to_be_visible()
    expect(form.panel.get_by_role("button", name="Too long")).to_be_visible()
    form.field("reasons_up").fill("fun: Fun to read")
    expect(form.panel.get_by_role("button", name="Fun to read")).to_be_visible()
    form.field("comments_enabled").uncheck()
    expect(form.panel.get_by_placeholder("Optional")).to_have_count(0)
    form.field("feedback_enabled").uncheck()
    expect(form.panel.get_by_role("button", name="Good answer")).to_have_count(0)
    expect(form.field("feedback_enabled")).to_be_focused()


def test_files_can_be_given_where_the_agent_takes_them(
    form: Form, shop: Widget, complaints: list[str]
) -> None:
    attach = form.panel.get_by_role("button", name="Attach files")
    expect(attach).to_have_count(0)
    form.field("attachments_enabled").check()
    picked = {"name": "bill.pdf", "mimeType": "application/pdf", "buffer": b"%PDF"}
    form.panel.locator("[type=file]").set_input_files(picked)  # type: ignore[arg-type]
    form.panel.get_by_role("button", name="Send message").click()
    expect(form.log.get_by_role("list", name="Files").get_by_text("bill.pdf")).to_be_visible()
    expect(form.panel.get_by_role("button", name="Remove bill.pdf")).to_have_count(0)
    form.field("attachments_enabled").uncheck()
    expect(attach).to_have_count(0)
    shop.agent.provider = "openai"  # takes none
    shop.agent.save()
    form.page.reload()
    form.field("attachments_enabled").check()
    form.field("title").fill("Otterbridge")
    expect(form.panel.get_by_role("heading", name="Otterbridge", exact=True)).to_be_visible()
    expect(attach).to_have_count(0)
    assert complaints == []


def test_what_could_not_be_saved_leaves_the_last_good_look(form: Form) -> None:
    form.field("title").fill("")
    form.field("texts").fill("placeholder: Ask away\nsend")
    form.field("reasons_down").fill("wrong: Not right\nwrong: Not right either")
    form.field("color").evaluate(
        "(input) => { input.type = 'text'; input.value = '#ff'; "
        "input.dispatchEvent(new Event('input', {bubbles: true})) }"
    )
    form.field("subtitle").fill("All of that was told")
    expect(form.panel.get_by_text("All of that was told")).to_be_visible()
    expect(form.panel.get_by_role("heading", name="Shop", exact=True)).to_be_visible()
    expect(form.panel.get_by_placeholder("Write a message…")).to_be_visible()
    expect(form.panel.get_by_role("button", name="Hard to follow")).to_be_visible()
    expect(form.bubble).to_have_css("background-color", "rgb(79, 70, 229)")


def test_the_panel_speaks_the_language_of_the_form(form: Form) -> None:
    form.field("locale").fill("")
    form.field("locale").press_sequentially("ar")
    form.field("locale").press("Tab")
    expect(form.root).to_have_attribute("dir", "rtl")
    expect(form.root).to_have_attribute("lang", "ar")
    expect(form.panel.get_by_role("heading", name="Shop", exact=True)).to_be_visible()


def test_it_is_there_before_a_widget_is_saved(form: Form, server: Server) -> None:
    form.page.goto(server.url + reverse("admin:chatwidget_widget_add"))
    expect(form.panel.get_by_text("When are you open?")).to_be_visible()
    form.field("title").fill("Brand new")
    expect(form.panel.get_by_role("heading", name="Brand new", exact=True)).to_be_visible()


def test_nothing_is_sent_or_kept_and_only_its_own_files_are_loaded(
    form: Form, shop: Widget, complaints: list[str]
) -> None:
    asked: list[str] = []
    form.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    form.page.on("websocket", lambda socket: asked.append(socket.url))
    form.page.reload(wait_until="networkidle")
    form.field("title").fill("Otterbridge")
    expect(form.panel.get_by_role("heading", name="Otterbridge", exact=True)).to_be_visible()
    loaded = [name for name in asked if "preview" in name or "panel" in name or "locale" in name]
    assert sorted(loaded) == [
        "?locale=en",
        "panel.css",
        "preview-panel.js",
        "preview.css",
        "preview.js",
    ]
    kept = form.in_panel(KEPT)
    asked.clear()
    form.panel.get_by_role("button", name="Bad answer").click()
    form.panel.get_by_role("button", name="Not correct").click()
    form.panel.get_by_placeholder("Optional").fill("No!")
    form.panel.get_by_role("button", name="Send feedback").click()
    form.panel.get_by_role("button", name="More", exact=True).click()
    form.panel.get_by_role("switch", name="Sound for answers").click()
    form.panel.get_by_role("button", name="Delete my data").click()
    form.panel.get_by_role("button", name="Delete everything").click()
    form.panel.get_by_role("button", name="What can you do?").click()
    expect(form.log.get_by_text("This is a preview")).to_be_visible()
    form.panel.get_by_role("textbox").fill("Really?")
    form.panel.get_by_role("textbox").press("Enter")
    expect(form.log.get_by_text("This is a preview")).to_have_count(2)
    assert [name for name in asked if name != "logo.svg"] == [], "the page's own icon may be late"
    assert form.in_panel(KEPT) == kept
    shop.refresh_from_db()
    assert shop.title == "Shop"
    assert not Visitor.objects.filter(widget=shop).exists()
    assert complaints == []


def test_hostile_text_in_the_form_stays_text(form: Form, complaints: list[str]) -> None:
    form.page.on("dialog", lambda dialog: complaints.append(dialog.message))
    for name in ("title", "subtitle", "greeting", "disclaimer", "label"):
        form.field(name).fill(HOSTILE)
    form.field("texts").fill(f"placeholder: {HOSTILE}")
    form.field("starters").fill(HOSTILE)
    expect(form.panel.get_by_role("heading", name=HOSTILE, exact=True)).to_be_visible()
    expect(form.panel.get_by_role("button", name=HOSTILE)).to_be_visible()
    form.field("reasons_down").fill(f"x: {HOSTILE}")
    expect(form.panel.get_by_role("button", name=HOSTILE)).to_be_visible()
    assert form.in_panel("document.querySelectorAll('img, [src^=x]').length") == 0
    assert complaints == []


def test_a_message_from_another_window_or_origin_is_ignored(form: Form) -> None:
    draft = """{chatwidget: 1, type: "draft", settings: {
      ...JSON.parse(parent.document.querySelector("[data-settings]").dataset.settings),
      texts: {title}}}"""
    said = "new MessageEvent('message', {data: %s, source: %s, origin: %s})"
    for title, source, origin in (
        ("Another window", "window", "location.origin"),
        ("Another origin", "parent", "'https://evil.test'"),
        ("Nobody", "null", "location.origin"),
    ):
        event = said % (draft, source, origin)
        form.in_panel(f"(() => {{ const title = '{title}'; dispatchEvent({event}) }})()")
        expect(form.panel.get_by_role("heading", name="Shop", exact=True)).to_be_visible()
    # The same message is believed when the page around it says it.
    event = said % (draft, "parent", "location.origin")
    form.in_panel(f"(() => {{ const title = 'The page'; dispatchEvent({event}) }})()")
    expect(form.panel.get_by_role("heading", name="The page", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_it_is_seen_whole_and_axe_finds_nothing(
    form: Form, axe: str, scheme: str, width: int
) -> None:
    form.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    form.page.set_viewport_size({"width": width, "height": 900})
    if width < 1440:
        form.page.get_by_role("link", name="Preview", exact=True).click()
    expect(form.panel.get_by_role("textbox")).to_be_in_viewport(ratio=1)
    expect(form.panel.get_by_role("heading", name="Shop", exact=True)).to_be_in_viewport(ratio=1)
    assert form.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(form.frame, axe) == []


def test_it_comes_after_the_form_for_the_keyboard(form: Form) -> None:
    form.page.get_by_role("link", name="Delete", exact=True).focus()
    form.page.keyboard.press("Tab")
    assert form.page.evaluate("document.activeElement.localName") == "chat-widget"
