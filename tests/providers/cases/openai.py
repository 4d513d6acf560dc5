"""An OpenAI-compatible server: sending streams the answer, and nothing is kept there."""

import re
from typing import Any

from tests.simulators.openai import OpenAISimulator

from .base import Case


class OpenAICase(Case):
    """Chat completions under test."""

    provider = "openai"
    operations = {"send": "send", "receive": "send"}
    keeps_conversations = False
    simulator: OpenAISimulator

    def start(self) -> OpenAISimulator:
        simulator = OpenAISimulator()
        simulator.start()
        return simulator

    def agent(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "base_url": self.simulator.base_url,
            "credentials": {"api_key": self.simulator.key},
            "options": {"model": self.simulator.model},
        }

    def answer_with(self, text: str) -> None:
        with self.simulator.changing():
            self.simulator.tokens = re.findall(r"\S+\s*|\s+", text)

    def hold(self) -> None:
        with self.simulator.changing():
            self.simulator.odd.stall_after = 1

    def release(self) -> None:
        with self.simulator.changing():
            self.simulator.odd.stall_after = None
        self.simulator.release()

    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.simulator.sends]
