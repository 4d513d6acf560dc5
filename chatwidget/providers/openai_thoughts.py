"""What a model thinks aloud: text that begins with `<think>`, up to `</think>`.

Servers that know their model give its thoughts a field of their own. Others pass on what the model
writes, tags and all (DeepSeek-R1, Qwen3 and their kind). Only the very beginning counts: whoever
asks for an example of such tags gets it.
"""

from typing import Literal

OPENS, CLOSES = "<think>", "</think>"


class Thoughts:
    """Tells thoughts from the answer, in a text that comes bit by bit."""

    def __init__(self) -> None:
        self._stage: Literal["beginning", "thinking", "between", "answering"] = "beginning"
        self._held = ""

    @property
    def thinking(self) -> bool:
        """Whether what came last was a thought."""
        return self._stage in ("thinking", "between")

    @property
    def doubtful(self) -> str:
        """What might have become a thought, and has to be shown if nothing more comes."""
        return self._held if self._stage == "beginning" else ""

    def without(self, text: str) -> str:
        """Return what of all that has come can be shown now, and was not yet."""
        if self._stage == "answering":
            return text
        held = self._held + text
        if self._stage == "beginning":
            start = held.lstrip()
            if start.startswith(OPENS):
                self._stage = "thinking"
            elif not OPENS.startswith(start):
                self._stage = "answering"
        if self._stage == "thinking":
            _, closed, answer = held.partition(CLOSES)
            held = answer if closed else held[-len(CLOSES) :]
            self._stage = "between" if closed else "thinking"
        if self._stage == "between":
            held = held.lstrip()
            self._stage = "answering" if held else "between"
        shown, self._held = (held, "") if self._stage == "answering" else ("", held)
        return shown
