"""Turns of this process: the only place that joins provider, turn, store and hub.

A turn is a task of its own, outside any socket. It stores first and publishes second, ends in
one final state, and can be stopped, or given back when the process ends, at any moment.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Sequence

import httpx
from django.conf import settings
from django.db import DatabaseError
from django.views.decorators.debug import sensitive_variables

from . import claims, metrics
from .claims import Claimed, Final, LeaseLostError
from .errors import Broken, ChatWidgetError, Misconfigured, ProviderError, Rejected
from .events import Finish, HumanHas, Learned, ProviderEvent, Sending
from .hub import Hub
from .models import Agent, Status
from .providers import Provider, Setup, provider_class
from .providers.drive import drive
from .store import Store
from .turn import Turn

log = logging.getLogger(__name__)

AT_ONCE = 500
"""Answers under way at once in one process; more wait in the database."""
FINISH_TRIES = 5


@sensitive_variables()
def open_provider(agent: Agent) -> Provider:
    """Return the agent's adapter, its credentials opened. Raises ChatWidgetError."""
    adapter = provider_class(agent.provider)
    return adapter(
        Setup(base_url=agent.base_url, credentials=agent.credentials, options=agent.options)
    )


class Running:
    """One claimed turn while it runs here."""

    def __init__(self, claimed: Claimed) -> None:
        self.claimed = claimed
        self.turn = Turn(claimed.shown, version=claimed.version)
        self.saved_seq = self.turn.seq
        self.lost = False
        self.stopped = claimed.stop_requested
        self.work: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Stop listening to the vendor; the answer ends as stopped."""
        self.stopped = True
        if self.work is not None:
            self.work.cancel()


class Runner:
    """Runs turns: those asked for here at once, orphaned ones when a sweep finds them."""

    def __init__(self, store: Store, hub: Hub, http: httpx.AsyncClient) -> None:
        self._store, self._hub, self._http = store, hub, http
        self._running: dict[uuid.UUID, Running] = {}
        self._tasks: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._saver = asyncio.create_task(self._save_always())
        self._draining = False

    # --- commands ---------------------------------------------------------------------------------

    def start(self, answer: uuid.UUID) -> None:
        """Run this turn, unless it runs here already or the process is full or ending."""
        if self._draining or answer in self._tasks or len(self._tasks) >= AT_ONCE:
            return
        task = asyncio.create_task(self._run(answer), name=f"turn {answer}")
        self._tasks[answer] = task
        task.add_done_callback(lambda _: self._tasks.pop(answer, None))

    def stop(self, answer: uuid.UUID) -> None:
        """Stop this turn if it runs here."""
        if running := self._running.get(answer):
            running.stop()

    async def recover(self) -> bool:
        """Start turns that nobody has: their process died, or had no room."""
        room = AT_ONCE - len(self._tasks)
        if self._draining or room <= 0:
            return False
        for answer in await self._store.read(claims.claimable, min(room, 100)):
            self.start(answer)
        return False

    async def drain(self) -> None:
        """Give every turn back, text and all, for another process or the next start."""
        self._draining = True
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._saver.cancel()

    # --- one turn ---------------------------------------------------------------------------------

    async def _run(self, answer: uuid.UUID) -> None:
        claimed = await self._store.write(claims.claim, answer)
        if claimed is None:
            return
        running = Running(claimed)
        self._running[answer] = running
        self._hub.open(running.turn)
        started = time.monotonic()
        try:
            final = await self._answer(running)
            await self._finish(running, final)
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

    async def _answer(self, running: Running) -> Final:
        """Have the vendor answer. Returns how it ended; this is the funnel for every error."""
        claimed, turn = running.claimed, running.turn
        if running.stopped:
            return self._final(running, Status.STOPPED)
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
                return self._failed(running, error)
            case ChatWidgetError():
                log.error("turn %s cannot run: %s", turn.message, error)
                return self._failed(running, Misconfigured(str(error)))
            case _:
                log.error("turn %s met a bug", turn.message, exc_info=error)
                return self._failed(running, Broken("an internal error, see the log"))

    async def _drive(self, running: Running) -> None:
        provider = open_provider(running.claimed.agent)

        async def sink(events: Sequence[ProviderEvent]) -> None:
            await self._handle(running, events)

        await drive(provider, provider.answer(running.claimed.ask), self._http, sink)

    async def _handle(self, running: Running, events: Sequence[ProviderEvent]) -> None:
        """Store what must be stored, then show what can be seen, then let more gather."""
        claimed = running.claimed
        for event in events:
            match event:
                case Sending():
                    await self._store.write(claims.mark_sent, claimed)
                case Learned():
                    await self._store.write(claims.learn, claimed, event)
                case HumanHas(human):
                    told = await self._store.write(claims.set_mode, claimed.conversation, human)
                    if told:
                        self._hub.publish(claimed.visitor, told)
                case _:
                    pass
        frame = running.turn.take(events)
        if frame is not None:
            self._hub.publish(claimed.visitor, frame, ring=False)
            if running.turn.finish is None:
                # What arrives meanwhile comes as one read: merging and back-pressure in one.
                await asyncio.sleep(settings.DELTA_WINDOW_S)
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

    async def _give_back(self, running: Running) -> None:
        claimed, turn = running.claimed, running.turn
        with contextlib.suppress(DatabaseError):
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
                if self._running and now - looked > 1:
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
        for (one, _, seq), ours in zip(states, held, strict=True):
            one.saved_seq = seq
            if ours:
                self._hub.ring(one.claimed.visitor, one.turn.message)
            elif one.claimed.answer in self._running:
                one.lost = True
                one.stop()
