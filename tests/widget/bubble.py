"""The widget as a visitor meets it: names and roles, never classes."""

from playwright.sync_api import Locator, Page, expect


class Bubble:
    """Launcher and panel on one page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.launcher = page.locator("button[aria-haspopup=dialog]")
        self.panel = page.frame_locator("iframe")

    def open(self) -> "Bubble":
        self.launcher.click()
        expect(self.composer).to_be_visible()
        return self

    @property
    def composer(self) -> Locator:
        return self.panel.get_by_role("textbox").last

    @property
    def log(self) -> Locator:
        return self.panel.get_by_role("log")

    def ask(self, text: str) -> None:
        self.composer.fill(text)
        self.composer.press("Enter")

    def button(self, name: str) -> Locator:
        return self.panel.get_by_role("button", name=name, exact=True)

    @property
    def up(self) -> Locator:
        return self.button("Good answer").last

    @property
    def down(self) -> Locator:
        return self.button("Bad answer").last

    def shows(self, text: str) -> None:
        expect(self.log).to_contain_text(text)

    def finished(self) -> None:
        """Wait until the last answer can be rated."""
        expect(self.up).to_be_visible()

    def knows_what_the_page_said(self) -> None:
        """Wait until the panel has read the messages that the page has posted so far."""
        self.panel.locator("html").evaluate("() => new Promise((done) => setTimeout(done))")
