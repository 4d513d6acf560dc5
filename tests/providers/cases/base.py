"""What the conformance suite must know of a vendor: how to set it up, and what its ledger says.

One module per vendor beside this one, with one subclass of Case. `simulator` runs on a loopback
socket; everything else reads or switches it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.simulators.base import Simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A vote as the vendor holds it. `vote` None: none, or taken back."""

    vote: str | None
    comment: str = ""


class Case(ABC):
    """One vendor under test."""

    provider: ClassVar[str]
    """The provider key."""
    operations: ClassVar[Mapping[str, str]]
    """The simulator's operation names for `send`, `receive` (the poll, or the stream itself where
    sending streams) and `rate`, and for the turn's other calls under names of your choice: faults
    are tried at each. An absent one does not exist at this vendor."""

    keeps_conversations: ClassVar[bool] = True
    """A conversation here is one conversation there; else `conversations` is not asked."""

    def __init__(self) -> None:
        self.simulator = self.start()

    @classmethod
    def reads(cls) -> str:
        """The operation that looks for an answer; empty: it comes on the sending call alone."""
        send, receive = cls.operations["send"], cls.operations["receive"]
        return cls.operations.get("read", "" if receive == send else receive)

    @abstractmethod
    def start(self) -> Simulator:
        """Return a started simulator that answers as quickly as it can."""

    @abstractmethod
    def agent(self) -> dict[str, Any]:
        """Return `provider`, `base_url`, `credentials`, `options` for `make_agent`: short waits."""

    @abstractmethod
    def answer_with(self, text: str) -> None:
        """Have every question answered with this Markdown."""

    @abstractmethod
    def hold(self) -> None:
        """Keep answers back until `release`, with nothing or only a part of them shown."""

    @abstractmethod
    def release(self) -> None:
        """Give what `hold` kept back."""

    @abstractmethod
    def questions(self) -> list[str]:
        """Return the texts the vendor was sent as questions, each time it was sent."""

    def conversations(self) -> int:
        """Return how many conversations the vendor was asked to begin."""
        raise NotImplementedError

    def held(self) -> list[Held]:
        """Return the votes the vendor holds, oldest answer first."""
        return []
