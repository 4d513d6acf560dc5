"""raia: polled; its people, users and votes are in the simulator's ledger."""

from typing import Any

from tests.simulators.raia import RaiaSimulator

from .base import Case, Held


class RaiaCase(Case):
    """raia under test."""

    provider = "raia"
    operations = {
        "user": "search_user",
        "start": "create_conversation",
        "send": "send",
        "receive": "poll",
        "rate": "feedback",
    }
    simulator: RaiaSimulator

    def start(self) -> RaiaSimulator:
        simulator = RaiaSimulator()
        simulator.ripening = 0.05
        simulator.start()
        return simulator

    def agent(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "base_url": self.simulator.url,
            "credentials": {"secret_key": self.simulator.key},
            "options": {"poll_s": 0.05},
        }

    def answer_with(self, text: str) -> None:
        with self.simulator.changing():
            self.simulator.answer = lambda _: text

    def hold(self) -> None:
        self.simulator.hold()

    def release(self) -> None:
        self.simulator.release()

    def questions(self) -> list[str]:
        return [message.text for message in self.simulator.sends]

    def conversations(self) -> int:
        return len(self.simulator.conversations)

    def held(self) -> list[Held]:
        return [
            Held(vote=one.vote, comment=one.comment or "")
            for one in self.simulator.feedbacks.values()
        ]
