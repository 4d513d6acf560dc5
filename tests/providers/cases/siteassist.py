"""SiteAssist: sending streams the answer; what breaks off is read back; visitors rate."""

from typing import Any

from tests.simulators.siteassist import SiteAssistSimulator

from .base import Case, Held

VOTES = {"like": "up", "dislike": "down", None: None}


class SiteAssistCase(Case):
    """SiteAssist under test."""

    provider = "siteassist"
    operations = {
        "user": "init",
        "start": "start",
        "send": "send",
        "receive": "send",
        "read": "list_messages",
        "rate": "feedback",
    }
    simulator: SiteAssistSimulator

    def start(self) -> SiteAssistSimulator:
        simulator = SiteAssistSimulator()
        simulator.first_gap_s = simulator.gap_s = 0.0
        simulator.start()
        return simulator

    def agent(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "base_url": self.simulator.base_url,
            "credentials": {"publishable_key": self.simulator.key},
            "options": {"look_s": 0.05},
        }

    def answer_with(self, text: str) -> None:
        with self.simulator.changing():
            self.simulator.answer = lambda _: text

    def hold(self) -> None:
        self.simulator.hold()

    def release(self) -> None:
        self.simulator.release()

    def questions(self) -> list[str]:
        return [one.text for one in self.simulator.sends]

    def conversations(self) -> int:
        return len(self.simulator.conversations)

    def held(self) -> list[Held]:
        return [Held(vote=VOTES[one.feedback]) for one in self.simulator.messages if one.rated]
