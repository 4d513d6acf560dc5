"""The circuit breaker: an agent whose vendor fails rests, and visitors are told so at once.

    answers ──5 failures in a row──> rests 10 s, then 20, 40, 60 ──over──> one question tries
       ^──────────────────────── that one is answered ─────────────────────────────┘

Its state is the agent's row: every process keeps to it, a restart changes nothing, and the
operator sees it. What counts as a failure is a vendor that cannot be reached, fails or does not
answer before anything came of the answer; a refusal or a wrong key is an answer of a kind. All of
it is short database work, to be given to `Store.write`.
"""

import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from .errors import ChatWidgetError, ProviderError, TimedOut, Unavailable
from .models import Agent

LONGEST_REST_S = 60.0
"""Also how long the question that tries has before another one may."""
HEALTHY = {
    "failures_in_row": 0,
    "failing_since": None,
    "last_failure": "",
    "rests_in_row": 0,
    "resting_until": None,
}


def is_failure(error: ChatWidgetError | None) -> bool:
    """Whether an answer that ended so, with nothing said before, speaks against the vendor."""
    return isinstance(error, Unavailable | TimedOut)


def may_try(agent: uuid.UUID) -> bool:
    """Return whether a question may try an agent after its rest. Of all who ask, one may."""
    now = timezone.now()
    rested = Agent.objects.filter(pk=agent, resting_until__lte=now)
    return bool(rested.update(resting_until=now + timedelta(seconds=LONGEST_REST_S)))


def try_another(agent: Agent) -> None:
    """The question that tried was stopped or given back before the vendor showed how it is."""
    Agent.objects.filter(pk=agent.pk, resting_until__gt=timezone.now()).update(
        resting_until=timezone.now()
    )


def answered(agent: Agent, asked_at: datetime) -> None:
    """The vendor answers again, if the question was asked since it began to fail."""
    Agent.objects.filter(pk=agent.pk, failing_since__lt=asked_at).update(**HEALTHY)


def failed(agent: Agent, error: ProviderError, *, tried: bool) -> None:
    """Count a failure. Too many in a row, or one when it was tried, and the agent rests.

    A vendor's Retry-After makes the rest longer, but never begins one: it may mean one visitor.
    """
    now = timezone.now()
    Agent.objects.filter(pk=agent.pk, failing_since=None).update(failing_since=now)
    Agent.objects.filter(pk=agent.pk).update(
        failures_in_row=F("failures_in_row") + 1, last_failure=str(error)[:500]
    )
    current = Agent.objects.get(pk=agent.pk)
    first = current.resting_until is None and current.failures_in_row >= settings.AGENT_FAILURES
    if tried or first:
        pause = settings.AGENT_REST_S * 2 ** min(current.rests_in_row, 10)
        pause = min(max(pause, error.retry_after_s or 0.0), LONGEST_REST_S)
        Agent.objects.filter(pk=agent.pk).update(
            rests_in_row=F("rests_in_row") + 1, resting_until=now + timedelta(seconds=pause)
        )
