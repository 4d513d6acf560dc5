"""Files in the panel: picked, dropped or pasted, held to the limits, sent with a question."""

import base64
import re

import pytest
from playwright.sync_api import FilePayload, Locator, Page, Route, expect

from chatwidget.models import Attachment, Message, Widget
from tests.cast import make_widget
from tests.feedback.conftest import raia_agent
from tests.server import Server
from tests.simulators.raia import RaiaSimulator

from .bubble import Bubble
from .conftest import Site, embed
from .test_for_everyone import panel_frame, violations

CONTENT = b"%PDF-1.7 " + b"x" * 200_000
GIVE = """(element, {kind, name, content, words}) => {
  const data = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  data.items.add(new File([bytes], name));
  if (words) data.setData("text/plain", words);
  const init = {bubbles: true, cancelable: true};
  return element.dispatchEvent(kind === "drop"
    ? new DragEvent("drop", {...init, dataTransfer: data})
    : new ClipboardEvent("paste", {...init, clipboardData: data}));
}"""


@pytest.fixture
def widget(raia: RaiaSimulator, site: Site) -> Widget:
    raia.ripening = 0
    return make_widget(raia_agent(raia), origins=[site.origin], attachments_enabled=True)


@pytest.fixture
def bubble(page: Page, site: Site, widget: Widget, server: Server) -> Bubble:
    embed(site, widget, server)
    page.goto(site.origin)
    return Bubble(page).open()


def bill(name: str = "bill.pdf", content: bytes = CONTENT) -> FilePayload:
    return FilePayload(name=name, mimeType="application/pdf", buffer=content)


def pick(bubble: Bubble, *files: FilePayload) -> None:
    with bubble.page.expect_file_chooser() as chooser:
        bubble.button("Attach files").click()
    chooser.value.set_files(files)


def waiting(bubble: Bubble) -> Locator:
    """The files beside the composer."""
    return bubble.panel.locator("form").get_by_role("listitem")


def pick_slowly(bubble: Bubble) -> Route:
    """Pick a file whose upload goes on, or ends, as the test says."""
    on_the_way: list[Route] = []
    bubble.page.route("**/attachments?*", lambda route: on_the_way.append(route))
    with bubble.page.expect_request("**/attachments?*"):
        pick(bubble, bill())
    expect(waiting(bubble)).to_contain_text("Uploading…")
    return on_the_way[0]


def test_a_file_goes_with_its_question_to_the_agent(
    bubble: Bubble, page: Page, raia: RaiaSimulator, axe: str, complaints: list[str]
) -> None:
    pick(bubble, bill())
    expect(waiting(bubble)).to_contain_text("bill.pdf")
    expect(waiting(bubble)).to_contain_text(re.compile("195.kB"))
    assert violations(panel_frame(page), axe) == []
    bubble.ask("What is due?")
    expect(waiting(bubble)).to_have_count(0)
    bubble.finished()
    assert violations(panel_frame(page), axe) == []
    assert [*raia.stored.values()] == [CONTENT]
    question = bubble.panel.locator(".question")
    expect(question).to_contain_text("bill.pdf")
    page.reload()
    bubble.open()
    expect(question).to_contain_text("bill.pdf")
    assert complaints == []


def test_a_file_alone_is_a_question_by_its_name(bubble: Bubble, raia: RaiaSimulator) -> None:
    pick(bubble, bill(), bill("second.pdf"))
    expect(waiting(bubble)).to_have_count(2)
    bubble.button("Send message").click()
    bubble.finished()
    assert raia.calls("send")[0].json["message"] == "bill.pdf, second.pdf"


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_file_can_be_dropped_and_pasted(bubble: Bubble, kind: str) -> None:
    expect(bubble.button("Attach files")).to_be_visible()
    content = base64.b64encode(b"text").decode()
    bubble.composer.evaluate(GIVE, {"kind": kind, "name": "note.txt", "content": content})
    expect(waiting(bubble)).to_contain_text("note.txt")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_dropped_and_pasted_words_stay_words(bubble: Bubble, kind: str) -> None:
    expect(bubble.button("Attach files")).to_be_visible()
    content = base64.b64encode(b"a picture of the words").decode()
    given = {"kind": kind, "name": "words.png", "content": content, "words": "Words"}
    assert bubble.composer.evaluate(GIVE, given), "the browser is to put them into the composer"
    expect(waiting(bubble)).to_have_count(0)


def test_what_cannot_be_sent_is_said_and_keeps_nothing_else_back(
    bubble: Bubble, raia: RaiaSimulator, page: Page
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    pick(
        bubble,
        bill("setup.exe"),
        bill("huge.pdf", b"x" * (10 * 1024 * 1024 + 1)),
    )
    expect(waiting(bubble).nth(0)).to_contain_text("Such files cannot be sent")
    expect(waiting(bubble).nth(1)).to_contain_text(re.compile("Too large: at most 10.MB"))
    pick(bubble, *(bill(f"{number}.pdf") for number in range(6)))
    expect(waiting(bubble).nth(7)).to_contain_text("At most 5 files")
    expect(waiting(bubble).nth(7)).to_be_in_viewport()
    expect(bubble.button("Send message")).to_be_enabled()
    bubble.ask("All of them")
    bubble.finished()
    assert len(raia.stored) == 5
    assert sum("/attachments?" in url for url in asked) == 5


def test_a_question_sent_while_its_file_is_on_the_way_goes_with_it(
    bubble: Bubble, raia: RaiaSimulator
) -> None:
    upload = pick_slowly(bubble)
    bubble.ask("What is due?")
    expect(bubble.button("Send message")).to_be_disabled()
    expect(bubble.composer).to_have_value("What is due?")
    assert raia.calls("send") == []
    upload.continue_()
    bubble.finished()
    assert raia.calls("send")[0].json["message"] == "What is due?"
    assert [*raia.stored.values()] == [CONTENT]
    expect(bubble.composer).to_have_value("")


@pytest.mark.parametrize("then", ["the file fails", "more is written"])
def test_a_question_sent_with_its_file_stays_where_that_would_surprise(
    bubble: Bubble, raia: RaiaSimulator, then: str
) -> None:
    upload = pick_slowly(bubble)
    bubble.ask("What is due")
    if then == "the file fails":
        upload.abort()
        expect(waiting(bubble)).to_contain_text("The chat cannot be reached right now.")
    else:
        bubble.composer.press("!")
        upload.continue_()
        expect(waiting(bubble)).to_contain_text(re.compile("195.kB"))
    expect(bubble.button("Send message")).to_be_enabled()
    expect(bubble.composer).to_have_value(re.compile("What is due"))
    assert raia.calls("send") == []


def test_a_file_is_taken_back_and_forgotten(bubble: Bubble, widget: Widget) -> None:
    pick(bubble, bill())
    expect(waiting(bubble)).to_contain_text(re.compile("195.kB"))
    with bubble.page.expect_response(lambda one: one.request.method == "DELETE") as deleted:
        bubble.button("Remove bill.pdf").click()
    assert deleted.value.status == 204
    expect(waiting(bubble)).to_have_count(0)
    expect(bubble.composer).to_be_focused()
    assert not Attachment.objects.filter(visitor__widget=widget).exists()


def test_an_upload_that_fails_is_said_and_can_be_tried_again(bubble: Bubble, page: Page) -> None:
    def fail(route: Route) -> None:
        route.abort()

    page.route("**/attachments?*", fail)
    pick(bubble, bill())
    expect(waiting(bubble)).to_contain_text("The chat cannot be reached right now.")
    bubble.composer.fill("Without it, then")
    expect(bubble.button("Send message")).to_be_enabled()
    page.unroute("**/attachments?*", fail)
    bubble.button("Try again").click()
    expect(waiting(bubble)).to_contain_text(re.compile("195.kB"))


def test_files_that_were_forgotten_meanwhile_are_asked_for_again(
    bubble: Bubble, widget: Widget
) -> None:
    pick(bubble, bill())
    expect(waiting(bubble)).to_contain_text(re.compile("195.kB"))
    Attachment.objects.filter(visitor__widget=widget).delete()
    bubble.ask("What is due?")
    bubble.shows("Its files could not be sent. Please attach them again.")
    assert not Message.objects.filter(widget=widget).exists()


def test_without_files_there_is_no_button(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    widget.attachments_enabled = False
    widget.save()
    embed(site, widget, server)
    page.goto(site.origin)
    bubble = Bubble(page).open()
    bubble.ask("Hi")
    bubble.finished()
    expect(bubble.button("Attach files")).to_have_count(0)
