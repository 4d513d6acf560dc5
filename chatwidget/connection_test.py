"""Test connection: a real round trip with an agent, in steps that an operator understands.

reach, authenticate, start a conversation, ask, receive, rate: each with its time, what was sent
and got (without secrets), and, where it failed, a sentence that says what to change.
"""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import httpx

from .errors import (
    Broken,
    ChatWidgetError,
    Interrupted,
    Misconfigured,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
)
from .events import Ended, Finish, HumanHas, Learned, ProviderEvent, Rewritten, Snapshot, Text
from .models import Agent
from .providers import Provider
from .providers.base import Ask, Exchange, Known, Rating
from .providers.drive import drive
from .providers.http import new_client
from .runner import open_provider

QUESTION = "Hello! This is a test of the connection. Please answer in one short sentence."
SHOWN_CHARS = 1500

StepName = Literal["reach", "authenticate", "start", "ask", "receive", "rate", "clean up"]
Outcome = Literal["passed", "failed", "skipped"]

TITLES: dict[StepName, str] = {
    "reach": "Reach the host",
    "authenticate": "Authenticate",
    "start": "Start a conversation",
    "ask": "Ask a question",
    "receive": "Receive the answer",
    "rate": "Rate the answer",
    "clean up": "Leave no trace",
}
SECRET_NAMES = re.compile(r"token|secret|key|password|authorization", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One call as an operator may see it."""

    request: str
    sent: str
    status: str
    got: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the test. `note` says what was seen, or what to change."""

    name: StepName
    outcome: Outcome
    note: str
    seconds: float = 0.0
    calls: tuple[Shown, ...] = ()

    @property
    def title(self) -> str:
        return TITLES[self.name]


@dataclass(slots=True)
class _Run:
    """What happened while the flows ran."""

    exchanges: list[Exchange] = field(default_factory=list)
    known: Known = field(default_factory=Known)
    text: str = ""
    answer_id: str = ""
    human: bool = False
    error: ChatWidgetError | None = None

    async def sink(self, events: Sequence[ProviderEvent]) -> None:
        for event in events:
            match event:
                case Text(text):
                    self.text += text
                case Rewritten(text) | Snapshot(text):
                    self.text = text
                case Learned():
                    self.known = _joined(self.known, event)
                    self.answer_id = event.answer_id or self.answer_id
                case HumanHas(human):
                    self.human = human
                case Ended(Finish.HUMAN):
                    self.human = True
                case _:
                    pass


def _joined(known: Known, learned: Learned) -> Known:
    return replace(
        known,
        visitor={**known.visitor, **learned.visitor},
        conversation={**known.conversation, **learned.conversation},
        answer={**known.answer, **learned.answer},
    )


async def check_agent(agent: Agent, *, rate: bool = False) -> list[Step]:
    """Ask the agent a question and tell how each step went; rating it leaves a trace upstream."""
    run = _Run()
    try:
        provider = open_provider(agent)
    except ChatWidgetError as error:
        return [Step(name="authenticate", outcome="failed", note=str(error))]
    visitor = str(uuid.uuid4())
    ask = Ask(
        visitor=visitor, conversation=str(uuid.uuid4()), text=QUESTION, title="Connection test"
    )
    async with new_client() as http:
        await _flow(provider, provider.answer(ask), http, run)
        steps = _steps(provider, run)
        steps += await _rated(agent, run, http, rate=rate)
        steps += await _cleaned(agent, run, http, rated=rate)
    return steps


async def _flow(provider: Provider, flow: Any, http: httpx.AsyncClient, run: _Run) -> None:
    provider.watch = run.exchanges.append
    try:
        await drive(provider, flow, http, run.sink)
    except ChatWidgetError as error:
        run.error = error


def _steps(provider: Provider, run: _Run) -> list[Step]:
    """The steps of a turn, from the calls it took and how it ended."""
    if not provider.needs_base_url:
        return [_answered(provider, run, [])]
    order: list[StepName] = ["authenticate", "start", "ask", "receive"]
    by_step = {name: [one for one in run.exchanges if one.call.step == name] for name in order}
    steps = [_reached(provider, run)]
    failed = steps[0].outcome == "failed"
    broken = _culprit(run)
    for name in order[:-1]:
        calls = by_step[name]
        refused = isinstance(run.error, Misconfigured) and run.error.status in (401, 402, 403)
        if failed:
            steps.append(Step(name=name, outcome="skipped", note="Not reached."))
        elif name == "authenticate" and refused:
            failed = True
            steps.append(_failed(provider, name, run.error, run.exchanges[-1:]))
        elif broken is not None and broken.call.step == name:
            failed = True
            steps.append(_failed(provider, name, broken.error, calls))
        elif calls:
            steps.append(_passed(provider, name, calls, "Done."))
        elif name == "authenticate" and run.exchanges:
            steps.append(_passed(provider, name, [], "The key travels with every call: accepted."))
        elif name == "ask" and run.exchanges:
            steps.append(_passed(provider, name, [], "Sent."))
        else:
            steps.append(Step(name=name, outcome="skipped", note="This vendor needs no such step."))
    if failed:
        steps.append(Step(name="receive", outcome="skipped", note="Not reached."))
    else:
        steps.append(_answered(provider, run, by_step["receive"]))
    return steps


def _culprit(run: _Run) -> Exchange | None:
    """Return the call that ended the turn: the one whose error it is, or else the last, if wrong.

    Others may have followed it, to learn what it meant.
    """
    told = [one for one in run.exchanges if one.error is not None and one.error is run.error]
    return next((one for one in [*told, *run.exchanges[-1:]] if one.error is not None), None)


def _reached(provider: Provider, run: _Run) -> Step:
    answered = [one for one in run.exchanges if one.status is not None]
    if answered:
        first = answered[0]
        note = f"{provider.base_url} answers."
        return Step(name="reach", outcome="passed", note=note, seconds=first.seconds)
    return _failed(provider, "reach", run.error, run.exchanges)


def _answered(provider: Provider, run: _Run, calls: Sequence[Exchange]) -> Step:
    if run.error is not None:
        return _failed(provider, "receive", run.error, calls)
    if run.human:
        note = "A person has this conversation, so the agent keeps quiet. That works, too."
        return _passed(provider, "receive", calls, note)
    if not run.text.strip():
        broken = Broken("the answer is empty")
        return _failed(provider, "receive", broken, calls)
    return _passed(provider, "receive", calls, f"“{_short(run.text, 200)}”")


async def _rated(agent: Agent, run: _Run, http: httpx.AsyncClient, *, rate: bool) -> list[Step]:
    provider = open_provider(agent)
    if not provider.takes_votes:
        note = "This vendor takes no votes; they are kept here."
    elif not rate:
        note = "Not asked for: a rating leaves a trace at the vendor."
    elif run.error is not None or not run.text:
        note = "There is no answer to rate."
    else:
        again = _Run(known=run.known)
        rating = Rating(
            question=QUESTION,
            answer=run.text,
            vote="up",
            answer_id=run.answer_id,
            known=run.known,
        )
        await _flow(provider, provider.rate(rating), http, again)
        if again.error is not None:
            return [_failed(provider, "rate", again.error, again.exchanges)]
        return [_passed(provider, "rate", again.exchanges, "The vendor took a thumbs up.")]
    return [Step(name="rate", outcome="skipped", note=note)]


async def _cleaned(agent: Agent, run: _Run, http: httpx.AsyncClient, *, rated: bool) -> list[Step]:
    """Have the vendor forget the test's visitor if it can, unless a rating is to be looked at."""
    provider = open_provider(agent)
    if not (provider.erases or provider.closes) or rated or not run.known.visitor:
        return []
    again = _Run()
    await _flow(provider, provider.forget(run.known.visitor), http, again)
    if again.error is not None:
        return [_failed(provider, "clean up", again.error, again.exchanges)]
    note = f"The test's conversation was {'erased' if provider.erases else 'closed'} at the vendor."
    return [_passed(provider, "clean up", again.exchanges, note)]


def _passed(provider: Provider, name: StepName, calls: Sequence[Exchange], note: str) -> Step:
    return Step(
        name=name,
        outcome="passed",
        note=note,
        seconds=sum(one.seconds for one in calls),
        calls=tuple(shown(provider, one) for one in calls),
    )


def _failed(
    provider: Provider, name: StepName, error: Exception | None, calls: Sequence[Exchange]
) -> Step:
    return Step(
        name=name,
        outcome="failed",
        note=f"{_sentence(str(error))} {advice(provider, error)}",
        seconds=sum(one.seconds for one in calls),
        calls=tuple(shown(provider, one) for one in calls),
    )


def advice(provider: Provider, error: Exception | None) -> str:
    """Return a sentence that says what the operator should change or do."""
    status = error.status if isinstance(error, ProviderError) else None
    keys = " and ".join(one.noun for one in provider.credential_fields) or "key"
    match error:
        case Misconfigured() if status in (401, 403) and "refuses the key" in str(error):
            return f"Copy the {keys} again from {provider.label} and save the agent."
        case Misconfigured() if status is not None and 300 <= status < 400:
            return "Use the address it redirects to as the base URL."
        case Misconfigured():
            return "Correct the agent's settings as it says."
        case RateLimited():
            return "Wait a little and test again, or ask the vendor for a higher limit."
        case Rejected() if status == 404:
            return "Check the base URL: nothing answers at this path."
        case Rejected():
            return "Check the options: the vendor does not accept what was sent."
        case TimedOut():
            return "Try again; if it stays slow, raise the deadlines in the agent's options."
        case Interrupted():
            return "Try again; if it happens often, tell the vendor."
        case Unavailable() if status is None:
            return "Check the base URL, and that this server may connect to it."
        case Unavailable():
            return "The vendor has a problem of its own: try again later."
        case Broken():
            return "Check that the base URL is the vendor's API and not a website or a proxy."
        case _:
            return "See the log of this service."


def shown(provider: Provider, exchange: Exchange) -> Shown:
    """Return a call without anything secret in it, short enough to read."""
    call = exchange.call
    secrets = provider.secrets()
    return Shown(
        request=_redacted(f"{call.method} {provider.base_url}{call.path}", secrets),
        sent=_readable(call.form or call.json, secrets),
        status=str(exchange.status or "no answer"),
        got=_readable(exchange.data, secrets),
        seconds=exchange.seconds,
    )


def _readable(body: Any, secrets: Sequence[str]) -> str:
    if body is None:
        return ""
    text = json.dumps(_without_secrets(body), ensure_ascii=False, indent=2)
    return _short(_redacted(text, secrets), SHOWN_CHARS)


def _without_secrets(body: Any) -> Any:
    """Hide values whose names say that they are secret: tokens that an answer hands out."""
    if isinstance(body, Mapping):
        return {
            name: "…"
            if isinstance(value, str) and SECRET_NAMES.search(name)
            else _without_secrets(value)
            for name, value in body.items()
        }
    if isinstance(body, list):
        return [_without_secrets(one) for one in body]
    return body


def _redacted(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


def _short(text: str, most: int) -> str:
    text = text.strip()
    return text if len(text) <= most else text[: most - 1] + "…"


def _sentence(text: str) -> str:
    text = text.strip() or "It failed"
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
