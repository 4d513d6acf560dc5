"""ClarityQ: polled, one conversation per question, feedback replaced as a whole."""

from typing import Any

from tests.simulators.clarityq import ClarityQSimulator

from .base import Case, Held

VOTES = {"POSITIVE": "up", "NEGATIVE": "down", None: None}


class ClarityQCase(Case):
    """ClarityQ under test."""

    provider = "clarityq"
    operations = {"send": "ask", "receive": "status", "read": "answer", "rate": "feedback"}
    keeps_conversations = False
    simulator: ClarityQSimulator

    def start(self) -> ClarityQSimulator:
        simulator = ClarityQSimulator()
        simulator.ripening = 0.05
        simulator.start()
        return simulator

    def agent(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "base_url": self.simulator.url,
            "credentials": {"api_key": self.simulator.key},
            "options": {
                "product_id": self.simulator.product_id,
                "poll_s": 0.05,
            },
        }

    def answer_with(self, text: str) -> None:
        with self.simulator.changing():
            self.simulator.answer = lambda _: text

    def hold(self) -> None:
        self.simulator.hold()

    def release(self) -> None:
        self.simulator.release()

    def questions(self) -> list[str]:
        # Each behind what was said before it, if anything was.
        return [one.rpartition("Answer this question:\n\n")[2] for one in self.simulator.asked]

    def held(self) -> list[Held]:
        return [
            Held(vote=VOTES[one.rating], comment=one.comment or "")
            for one in self.simulator.conversations.values()
            if one.rated
        ]
