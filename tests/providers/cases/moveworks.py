"""Moveworks: streamed, with polling behind it; votes are in the simulator's ledger."""

from typing import Any

from tests.simulators.moveworks import MoveworksSimulator
from tests.simulators.moveworks_ledger import Reply

from .base import Case, Held

VOTES = {"helpful": "up", "unhelpful": "down"}


class MoveworksCase(Case):
    """Moveworks under test."""

    provider = "moveworks"
    operations = {
        "start": "create_conversation",
        "send": "stream",
        "receive": "stream",
        "read": "poll",
        "rate": "feedback",
    }
    simulator: MoveworksSimulator

    def start(self) -> MoveworksSimulator:
        simulator = MoveworksSimulator()
        simulator.start()
        return simulator

    def agent(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "base_url": self.simulator.url,
            "credentials": {"api_key": self.simulator.api_key},
            "options": {
                "assistant_name": self.simulator.assistant,
                "poll_s": 0.05,
                "read_back_s": 0.3,
            },
        }

    def answer_with(self, text: str) -> None:
        with self.simulator.changing():
            self.simulator.answer = lambda _: Reply(text, "COMMONMARK_TEXT")

    def hold(self) -> None:
        self.simulator.hold()

    def release(self) -> None:
        self.simulator.let_go()

    def questions(self) -> list[str]:
        return [message.text for message in self.simulator.sends]

    def conversations(self) -> int:
        return len(self.simulator.conversations)

    def held(self) -> list[Held]:
        return [Held(vote=VOTES[one.thumb], comment=one.comment) for one in self.simulator.votes()]
