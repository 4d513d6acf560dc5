"""How fast each agent is looked at: what is stored of its answers, and the plans made of that.

Every process learns from the answers of all. See `polling.py` for how.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Sequence

from django.conf import settings

from .models import AnswerTime
from .polling import KEPT, LEARN_EVERY, Plan, Span, learn
from .store import Store

log = logging.getLogger(__name__)

LEARN_AFTER_S = 60.0
"""A plan this old is made anew when it is wanted: answers may have ended elsewhere."""


def note(agent: uuid.UUID, span: Span) -> None:
    """Store when an answer came. For `Store.write`."""
    AnswerTime.objects.create(agent_id=agent, after_s=span[0], by_s=span[1])


def spans(agent: uuid.UUID) -> list[Span]:
    """Return when the agent's last answers came, oldest first. Only reads."""
    newest = AnswerTime.objects.filter(agent=agent).order_by("-pk")[:KEPT]
    return [*reversed(newest.values_list("after_s", "by_s"))]


def forget(agent: uuid.UUID) -> None:
    """Delete what is too old to be learned from. For `Store.write`."""
    oldest = AnswerTime.objects.filter(agent=agent).order_by("-pk")[KEPT - 1 : KEPT]
    for pk in oldest.values_list("pk", flat=True):
        AnswerTime.objects.filter(agent=agent, pk__lt=pk).delete()


class Paces:
    """The plans that this process has made, by agent. Use it on the loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._plans: dict[uuid.UUID, Plan | None] = {}
        self._made_at: dict[uuid.UUID, float] = {}
        self._ended: Counter[uuid.UUID] = Counter()
        """Answers that ended here since the plan was made, by agent."""
        self._learning: dict[uuid.UUID, asyncio.Task[None]] = {}

    def plan(self, agent: uuid.UUID) -> Plan | None:
        """Return the agent's plan as far as there is one."""
        return self._plans.get(agent)

    def asked(self, agent: uuid.UUID) -> None:
        """A question goes to the agent: its plan will soon be wanted."""
        made_at = self._made_at.get(agent)
        if made_at is None or self._loop.time() - made_at > LEARN_AFTER_S:
            self._learn(agent)

    def answered(self, agent: uuid.UUID) -> None:
        """An answer of the agent's is stored, with its span."""
        self._ended[agent] += 1
        if self._ended[agent] >= LEARN_EVERY:
            self._learn(agent)

    async def close(self) -> None:
        """Learn nothing more."""
        for task in list(self._learning.values()):
            task.cancel()
        await asyncio.gather(*self._learning.values(), return_exceptions=True)

    def _learn(self, agent: uuid.UUID) -> None:
        if agent in self._learning:
            return
        self._ended[agent] = 0
        self._made_at[agent] = self._loop.time()
        self._learning[agent] = asyncio.create_task(self._make(agent))

    async def _make(self, agent: uuid.UUID) -> None:
        try:
            known: Sequence[Span] = await self._store.read(spans, agent)
            self._plans[agent] = await asyncio.to_thread(learn, known, settings.POLL_LATE_S)
            if len(known) == KEPT:
                await self._store.write(forget, agent)
        except Exception:  # the plan that there is will do
            log.warning("the pace of agent %s cannot be learned now", agent, exc_info=True)
        finally:
            del self._learning[agent]
