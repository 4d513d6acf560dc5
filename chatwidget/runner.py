"""Turns of this process: the only place that joins provider, turn, store and hub.

A turn is a task of its own, outside any socket. It stores first and publishes second, ends in
one final state, and can be stopped, or given back when the process ends, at any moment.
"""

import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import httpx
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from . import admission, attachments, breaker, claims, logs, metrics
from .admission import Held, Verdict, Waiting
from .claims import Claimed, Final, LeaseLostError
from .errors import Broken, ChatWidgetError, Misconfigured, ProviderError, Rejected, Unavailable
from .events import Finish, HumanHas, Learned, ProviderEvent, Sending
from .hub import Hub
from .models import Agent, Status
from .paces import Paces
from .polling import Pace
from .providers import POLL, Provider, Setup, provider_class
from .providers.base import Ask, Attached, Exchange
from .providers.drive import drive
from .store import Store
from .turn import Turn

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.5
"""While answers wait here, how often it is looked whether another process has made room."""
STOPS_S = 0.5
"""How often stops are looked for that another process took: they are heard within a second."""
SECOND_LOOK_S = 2.0
"""A question whose answer was too late is asked again if it has not come by then."""
FINISH_TRIES = 5
FINISHED_YET_S = 0.05


@sensitive_variables()
def open_provider(agent: Agent) -> Provider:
    """Return the agent's adapter, its credentials opened. Raises ChatWidgetError."""
    adapter = provider_class(agent.provider)
    provider = adapter(
        Setup(base_url=agent.base_url, credentials=agent.credentials, options=agent.options)
    )
    provider.watch = partial(_note_call, agent.provider)
    return provider


def _note_call(provider: str, exchange: Exchange) -> None:
    """Count a call to a vendor, and write it down for whoever looks that closely."""
    step, error = exchange.call.step, exchange.error
    outcome = type(error).__name__.lower() if error else "answered"
    metrics.upstream_calls.labels(provider, step, outcome).inc()
    log.debug("%s %s: %s in %.3f s", provider, step, exchange.status, exchange.seconds)


@dataclass(frozen=True, slots=True)
class Place:
    """A turn was claimed here: what becomes of it, and the lease's token."""

    verdict: Verdict
    token: uuid.UUID
    claimed: Claimed | None = None
    """What there is to know of it, where that need not be read."""


class Running:
    """One claimed turn while it runs here."""

    def __init__(self, claimed: Claimed, verdict: Verdict) -> None:
        self.claimed = claimed
        self.verdict = verdict
        self.failure: ProviderError | None = None
        """How the vendor failed it before anything came."""
        self.turn = Turn(claimed.shown, version=claimed.version)
        self.pace = Pace()
        self.saved_seq = self.turn.seq
        self.lost = False
        self.sent = self.sending = False
        """The question goes out; nothing has come back yet by which its answer could be found."""
        self.stopped = claimed.message.stop_requested
        self.work: asyncio.Task[None] | None = None
        self.window_s: float = settings.DELTA_WINDOW_S
        self.text_at = math.inf
        """When text came last, on the monotonic clock; the first is taken for fast."""

    @property
    def can_move(self) -> bool:
        """Whether another process could go on with it as if nothing had been."""
        resumes = provider_class(self.claimed.agent.provider).resumes
        return not self.sent or (resumes and not self.sending)

    def is_fast(self) -> bool:
        """Note that text came. Returns whether it comes so fast that waiting will gather more.

        Where it does not, waiting would cost two turns of the loop a frame, and gather nothing.
        """
        now = time.monotonic()
        gap, self.text_at = now - self.text_at, now
        return self.window_s == 0 or gap < 1.5 * self.window_s

    def stop(self) -> None:
        """Stop listening to the vendor; the answer ends as stopped."""
        self.stopped = True
        if self.work is not None:
            self.work.cancel()


class Runner:
    """Runs turns: those asked for here at once, orphaned ones when a sweep finds them."""

    def __init__(self, store: Store, hub: Hub, http: httpx.AsyncClient) -> None:
        self._store, self._hub, self._http = store, hub, http
        self._paces = Paces(store)
        self._waiting: dict[uuid.UUID, tuple[Waiting, asyncio.Future[Place | None]]] = {}
        self._running: dict[uuid.UUID, Running] = {}
        self._tasks: dict[uuid.UUID, asyncio.Task[None]] = {}
        """A task for each turn, from when it begins to wait."""
        self.held = Held()
        self._news = asyncio.Event()
        self._starter = asyncio.create_task(self._start_always())
        self._saver = asyncio.create_task(self._save_always())
        self._draining = False

    # --- commands ---------------------------------------------------------------------------------

    def start(self, one: Waiting, place: Place | None = None) -> None:
        """Run this turn, unless it is here already: at once in its place, or when there is one."""
        if one.answer in self._tasks or (self._draining and place is None):
            return
        told = asyncio.get_running_loop().create_future()
        if place:
            told.set_result(place)
        else:
            self._waiting[one.answer] = one, told
            self._news.set()
        task = asyncio.create_task(self._run(one, told), name=f"turn {one.answer}")
        self._tasks[one.answer] = task
        task.add_done_callback(lambda _: self._tasks.pop(one.answer, None))

    def stop(self, answer: uuid.UUID) -> None:
        """Stop this turn if it runs here."""
        if running := self._running.get(answer):
            running.stop()

    async def recover(self) -> bool:
        """Start turns that nobody has: their process died, or had no room."""
        for one in await self._store.read(admission.abandoned, self.held.room):
            self.start(one)
        return False

    async def drain(self) -> None:
        """Give every turn back, text and all, for another process or the next start.

        Those that no other could go on with have FINISH_S to come to an end, or to where it could.
        """
        self._draining = True
        self._news.set()
        await self._starter
        kept, deadline = dict(self._tasks), time.monotonic() + settings.FINISH_S
        await asyncio.sleep(0)  # all of these have begun, or would give nothing back
        while kept:
            late = time.monotonic() >= deadline
            for answer in list(kept):
                running = self._running.get(answer)
                if late or running is None or running.can_move:
                    kept.pop(answer).cancel()
            if kept:
                await asyncio.wait(kept.values(), timeout=FINISHED_YET_S)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._paces.close()
        self._saver.cancel()

    # --- who may begin ----------------------------------------------------------------------------

    def take_place(self, agent: uuid.UUID) -> bool:
        """Take a place that nobody waits for, for a turn that is still to be stored.

        Safe from any thread.
        """
        return not (self._draining or self._waiting) and self.held.take_free(agent)

    def leave_place(self, agent: uuid.UUID | None) -> None:
        """Free a place; whoever waits for it may begin."""
        self.held.leave(agent)
        self._news.set()

    async def _start_always(self) -> None:
        while not self._draining:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S if self._waiting else None):
                    await self._news.wait()
            self._news.clear()
            try:
                if self._waiting:
                    await self._start_waiting()
            except Exception:  # they wait on, and it is tried again
                log.exception("no answer can begin now")

    async def _start_waiting(self) -> None:
        """Claim all at once those whose turn it is: the more ask, the less each claim costs."""
        waiting = [one for one, _ in self._waiting.values()]
        taken = await self._store.write(claims.take, waiting, self.held.room)
        if self._draining:
            await self._store.write(claims.release, taken.verdicts, taken.token)
            return
        for one in waiting:
            if verdict := taken.verdicts.get(one.answer):
                self.held.take(one.agent)
                self._tell(one, Place(verdict, taken.token))
            elif one.answer in taken.gone or one.abandoned:
                self._tell(one, None)

    def _tell(self, one: Waiting, place: Place | None) -> None:
        _, told = self._waiting.pop(one.answer)
        told.set_result(place)

    # --- one turn ---------------------------------------------------------------------------------

    async def _run(self, one: Waiting, place: "asyncio.Future[Place | None]") -> None:
        held = await place
        if held is None:
            return
        try:
            await self._run_claimed(one.answer, held)
        finally:
            self.leave_place(one.agent)

    async def _run_claimed(self, answer: uuid.UUID, place: Place) -> None:
        try:
            claimed = place.claimed or await self._store.read(claims.load, answer, place.token)
        except BaseException:
            await self._release(answer, place)
            raise
        if claimed is None:
            return
        if self._draining:
            await self._release(answer, place)
            return
        logs.begin_request(claimed.request)
        running = Running(claimed, place.verdict)
        self._running[answer] = running
        self._hub.open(running.turn)
        started = time.monotonic()
        try:
            final = await self._answer(running)
            await self._note_health(running, final)
            await self._finish(running, final)
            if final.span:
                self._paces.answered(claimed.agent.pk)
            await self._note_problem(claimed.agent, final)
            metrics.turns.labels(claimed.agent.provider, final.status.value).inc()
            metrics.answer_seconds.labels(claimed.agent.provider).observe(
                time.monotonic() - started
            )
        except LeaseLostError:
            log.info("turn %s was taken over or erased", answer)
        except asyncio.CancelledError:
            await self._give_back(running)
            raise
        finally:
            self._hub.end(running.turn)
            del self._running[answer]

    async def _release(self, answer: uuid.UUID, place: Place) -> None:
        await asyncio.shield(self._store.write(claims.release, [answer], place.token))

    async def _answer(self, running: Running) -> Final:
        """Have the vendor answer. Returns how it ended; this is the funnel for every error."""
        claimed, turn = running.claimed, running.turn
        if running.stopped:
            return self._final(running, Status.STOPPED)
        if running.verdict in (Verdict.RESTS, Verdict.LATE):
            return self._failed(running, Unavailable(running.verdict.value))
        running.work = asyncio.create_task(self._drive(running))
        try:
            await asyncio.wait([running.work])
        except asyncio.CancelledError:  # the process ends, not the answer
            running.work.cancel()
            await asyncio.wait([running.work])
            raise
        if running.lost:
            raise LeaseLostError
        if running.work.cancelled():
            if turn.finish is None:
                return self._final(running, Status.STOPPED)
            return self._ended(running)
        error = running.work.exception()
        match error:
            case None:
                return self._ended(running)
            case LeaseLostError():
                raise error
            case ProviderError():
                log.warning("turn %s failed: %s: %s", turn.message, type(error).__name__, error)
                metrics.upstream_errors.labels(
                    claimed.agent.provider, type(error).__name__.lower()
                ).inc()
                if breaker.is_failure(error) and not turn.text:
                    running.failure = error
                return self._failed(running, error)
            case ChatWidgetError():
                log.error("turn %s cannot run: %s", turn.message, error)
                return self._failed(running, Misconfigured(str(error)))
            case _:
                log.error("turn %s met a bug", turn.message, exc_info=error)
                return self._failed(running, Broken("an internal error, see the log"))

    async def _drive(self, running: Running) -> None:
        ask = running.claimed.ask
        if ask.known.answer and not ask.sent_before:  # the ids of the answer that came too late
            if await self._has_come(running):
                return
            ask = replace(ask, known=replace(ask.known, answer={}))
        provider = open_provider(running.claimed.agent)
        running.pace = self._pace(running.claimed, provider)
        await self._listen(running, provider, replace(ask, pace=running.pace))

    async def _has_come(self, running: Running) -> bool:
        """Take the answer that was too late for its own turn, if it is there now."""
        # The question went out longer ago than any wait between looks: the first look is due.
        pace = Pace(every_s=SECOND_LOOK_S / 4, since_s=SECOND_LOOK_S)
        ask = replace(running.claimed.ask, sent_before=True, pace=pace)
        provider = open_provider(running.claimed.agent)
        try:
            await self._listen(running, provider, ask, within_s=SECOND_LOOK_S)
        except ProviderError as error:
            if running.turn.text:
                raise
            log.info("turn %s asks again: %s", running.turn.message, error)
            await self._store.write(claims.forget_first, running.claimed)
            return False
        return True

    async def _listen(
        self, running: Running, provider: Provider, ask: Ask, within_s: float = math.inf
    ) -> None:
        async def sink(events: Sequence[ProviderEvent]) -> None:
            await self._handle(running, events)

        async def read(attached: Attached) -> bytes:
            return await self._store.read(attachments.content_of, attached)

        await drive(provider, provider.answer(ask), self._http, sink, read, within_s)

    def _pace(self, claimed: Claimed, provider: Provider) -> Pace:
        """How to look for the answer, where it is polled: as the agent's last ones came."""
        agent = claimed.agent.pk
        if POLL in provider.option_fields:
            self._paces.asked(agent)
        waited = max(0.1, (claimed.at - claimed.asked_at).total_seconds())
        return Pace(
            lambda: self._paces.plan(agent),
            every_s=provider.number("poll_s"),
            since_s=waited if claimed.ask.sent_before else 0.0,
            watched=lambda: self._hub.may_watch(claimed.visitor),
        )

    async def _handle(self, running: Running, events: Sequence[ProviderEvent]) -> None:
        """Store what must be stored, then show what can be seen, then let more gather."""
        claimed = running.claimed
        for event in events:
            match event:
                case Sending():
                    running.sent = running.sending = True
                    await self._store.write(claims.mark_sent, claimed)
                case Learned() if event.ids:
                    await self._store.write(claims.learn, claimed, event)
                    running.sending &= not event.answer
                case HumanHas(human):
                    told = await self._store.write(claims.set_mode, claimed.conversation, human)
                    if told:
                        self._hub.publish(claimed.visitor, told)
                case _:
                    pass
        frame = running.turn.take(events)
        if frame is not None:
            self._hub.publish(claimed.visitor, frame, ring=False)
            if running.turn.seq == 1:
                waited = timezone.now() - claimed.asked_at
                metrics.first_text_seconds.labels(claimed.agent.provider).observe(
                    waited.total_seconds()
                )
            if running.verdict is Verdict.TRY:  # it answers: nobody else is to wait for the end
                running.verdict = Verdict.ASK
                await self._store.write(breaker.answered, claimed.agent, claimed.at)
            if running.turn.finish is None and running.is_fast():
                # What arrives meanwhile comes as one read: merging and back-pressure in one.
                await asyncio.sleep(running.window_s)
        if running.turn.finish is Finish.TRUNCATED:
            running.stop()  # no more is wanted, whatever the vendor still has

    def _ended(self, running: Running) -> Final:
        turn = running.turn
        match turn.finish:
            case Finish.COMPLETE | Finish.TRUNCATED if turn.text:
                return self._final(running, Status.COMPLETED)
            case Finish.HUMAN:
                return Final(status=Status.STOPPED, text="", seq=turn.seq, citations=[])
            case Finish.REFUSED:
                return self._failed(running, Rejected("the vendor's filter cut the answer"))
            case _:
                return self._failed(running, Broken("the vendor sent an empty answer"))

    def _failed(self, running: Running, error: ProviderError) -> Final:
        return self._final(running, Status.FAILED, error=error.code, problem=str(error))

    def _final(
        self, running: Running, status: Status, *, error: str = "", problem: str = ""
    ) -> Final:
        turn = running.turn
        return Final(
            status=status,
            text=turn.text,
            seq=turn.seq,
            citations=turn.citations,
            links=turn.links,
            rateable=turn.rateable,
            error=error,
            problem=problem,
            answer_id=turn.answer_id,
            span=running.pace.span if status == Status.COMPLETED else None,
        )

    async def _finish(self, running: Running, final: Final) -> None:
        """Store the final state, then publish it. A database that is away is waited for."""
        claimed = running.claimed
        for attempt in range(1, FINISH_TRIES + 1):
            try:
                frames = await asyncio.shield(self._store.write(claims.finish, claimed, final))
                break
            except DatabaseError:
                if attempt == FINISH_TRIES:
                    raise
                log.warning("turn %s cannot be stored yet", claimed.answer, exc_info=True)
                await asyncio.sleep(2**attempt / 4)
        self._hub.end(running.turn)
        self._hub.publish(claimed.visitor, *frames)

    async def _note_problem(self, agent: Agent, final: Final) -> None:
        """A refused key marks the agent; an answer after that shows that it was mended."""
        refused = final.error == Misconfigured.code
        if refused or (agent.problem and final.status == Status.COMPLETED):
            await self._store.write(claims.note_problem, agent, final.problem if refused else "")

    async def _note_health(self, running: Running, final: Final) -> None:
        """Tell the agent's circuit breaker what this answer says of the vendor, if anything.

        Before visitors hear of it, so that whoever asks next is told at once. A database that is
        away loses a count, and nothing else.
        """
        claimed, agent = running.claimed, running.claimed.agent
        tried = running.verdict is Verdict.TRY
        with contextlib.suppress(DatabaseError):
            if running.failure:
                await self._store.write(breaker.failed, agent, running.failure, tried=tried)
            elif tried and final.status == Status.STOPPED:
                await self._store.write(breaker.try_another, agent)
            elif tried or (agent.failures_in_row and running.turn.text):
                await self._store.write(breaker.answered, agent, claimed.at)

    async def _give_back(self, running: Running) -> None:
        claimed, turn = running.claimed, running.turn
        with contextlib.suppress(DatabaseError):
            if running.verdict is Verdict.TRY:
                await asyncio.shield(self._store.write(breaker.try_another, claimed.agent))
            await asyncio.shield(self._store.write(claims.give_back, claimed, turn.text, turn.seq))

    # --- keeping what came ------------------------------------------------------------------------

    async def _save_always(self) -> None:
        """Store new text often, renew every lease, and hear stops that another process took."""
        renewed = looked = time.monotonic()
        while True:
            await asyncio.sleep(settings.SAVE_EVERY_S)
            now = time.monotonic()
            renew = now - renewed > settings.LEASE_S / 3
            renewed = now if renew else renewed
            try:
                await self._save(
                    [
                        one
                        for one in self._running.values()
                        if renew or one.turn.seq != one.saved_seq
                    ]
                )
                if self._running and now - looked >= STOPS_S:
                    looked = now
                    await self._hear_stops(list(self._running))
            except Exception:  # leases outlast several failures of this
                log.exception("the text of running answers could not be stored")

    async def _hear_stops(self, running: list[uuid.UUID]) -> None:
        for answer in await self._store.read(claims.stops_requested, running):
            self.stop(answer)

    async def _save(self, due: list[Running]) -> None:
        states = [(one, one.turn.text, one.turn.seq) for one in due]
        if not states:
            return
        held = await self._store.write(
            claims.save_texts, [(one.claimed, text, seq) for one, text, seq in states]
        )
        bells = []
        for (one, _, seq), ours in zip(states, held, strict=True):
            one.saved_seq = seq
            if ours:
                bells.append((one.claimed.visitor, one.turn.message))
            elif one.claimed.answer in self._running:
                one.lost = True
                one.stop()
        self._hub.ring_all(bells)
