"""Carry out an adapter's flow: the only I/O there is with a vendor.

Every wait has an end: connecting, the silence of a stream, the whole. Every body has a size.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import inf
from typing import Any

import httpx

from ..errors import ProviderError, Rejected, TimedOut, Unavailable
from ..events import Ended, ProviderEvent, Rewritten, Snapshot, Text, Working
from .base import Attached, Call, Exchange, Flow, Pause, Provider, Reply, Stream, Upload
from .http import mapped_errors
from .sse import EventReader

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Some vendors list a whole conversation at once."""
MAX_STREAM_BYTES = 64 * 1024 * 1024
ENDING_S = 2.0
"""The longest silence of a stream that has told its end, and may still go on."""
LINGER_S = 0.05
"""How long what lies behind the end is read, though nobody wants it."""
SOUNDS = {Text, Rewritten, Snapshot, Working}
"""What ends a stream's silence; heartbeats do not."""

Sink = Callable[[Sequence[ProviderEvent]], Awaitable[None]]
"""Handles events in order; what must be stored is stored when it returns."""


Read = Callable[[Attached], Awaitable[bytes]]
"""Reads a file's bytes. Raises Rejected where they are no longer kept."""


async def drive(
    provider: Provider,
    flow: Flow,
    http: httpx.AsyncClient,
    sink: Sink | None = None,
    read: Read | None = None,
    within_s: float = inf,
) -> Any:
    """Run `flow` to its end; returns what it returns, nothing mostly.

    `read` is needed where there are files to upload.

    All events that came in one read go to `sink` as one batch. Raises ProviderError as the flow
    leaves it; TimedOut when `total_s` is over, or `within_s` if that is less.
    """
    limit_s = min(provider.number("total_s"), within_s)
    try:
        async with asyncio.timeout(limit_s) as deadline:
            return await _steps(provider, flow, http, sink or _ignore, read, deadline)
    except TimeoutError:
        raise TimedOut(
            f"{provider.label} took longer than {limit_s:g} s", provider=provider.label
        ) from None
    finally:
        flow.close()


async def _ignore(events: Sequence[ProviderEvent]) -> None:
    """The sink of a flow that has nothing to tell."""


async def _steps(
    provider: Provider,
    flow: Flow,
    http: httpx.AsyncClient,
    sink: Sink,
    read: Read | None,
    deadline: asyncio.Timeout,
) -> Any:
    sent: Any = None
    error: ProviderError | None = None
    while True:
        try:
            step = flow.throw(error) if error else flow.send(sent)
        except StopIteration as over:
            return over.value
        sent = error = None
        try:
            match step:
                case Call():
                    sent = await _watched(provider, step, _fetch(provider, step, http))
                case Stream():
                    listening = _listen(provider, step, http, sink)
                    sent = await _watched(provider, step.call, listening)
                case Upload():
                    assert read is not None, "whoever asks with files can read them"
                    call = Call(method="PUT", path="(where the vendor keeps files)")
                    await _watched(provider, call, _upload(provider, step, http, read))
                case Pause(seconds, after):
                    if after is not None and _outlasts(seconds, deadline):
                        raise after
                    await asyncio.sleep(seconds)
                case _:
                    await sink([step])
        except ProviderError as raised:
            error = raised


def _outlasts(seconds: float, deadline: asyncio.Timeout) -> bool:
    until = deadline.when()
    return until is not None and asyncio.get_running_loop().time() + seconds >= until


async def _watched(provider: Provider, call: Call, work: Coroutine[Any, Any, Any]) -> Any:
    """Carry out a call and tell whoever watches the provider how it went."""
    if provider.watch is None:
        return await work
    started = time.monotonic()
    reply: Any = None
    error: ProviderError | None = None
    try:
        reply = await work
        return reply
    except ProviderError as raised:
        error = raised
        raise
    finally:
        status = reply.status if isinstance(reply, Reply) else error.status if error else 200
        data = reply.data if isinstance(reply, Reply) else None
        seconds = time.monotonic() - started
        provider.watch(Exchange(call=call, status=status, data=data, seconds=seconds, error=error))


def _request(
    provider: Provider, call: Call, http: httpx.AsyncClient, timeout: httpx.Timeout
) -> httpx.Request:
    """Build the request. Compression is declined: what comes is what is counted."""
    return http.build_request(
        call.method,
        provider.base_url + call.path,
        json=call.json,
        data=call.form,
        params=dict(call.query) or None,
        headers={"Accept-Encoding": "identity", **provider.headers(), **call.headers},
        timeout=timeout,
    )


def _timeouts(provider: Provider, *, streams: bool = False) -> httpx.Timeout:
    """Each wait by itself. For the transport, `pool` is connecting with the look-up of the name.

    A stream's reads have none: whoever listens to it knows silence from heartbeats.
    """
    idle_s, connect_s = provider.number("idle_s"), provider.number("connect_s")
    read_s = None if streams else idle_s
    return httpx.Timeout(idle_s, read=read_s, connect=connect_s, pool=connect_s)


@contextlib.asynccontextmanager
async def _sent(
    provider: Provider, call: Call, http: httpx.AsyncClient, timeout: httpx.Timeout
) -> AsyncIterator[httpx.Response]:
    """Send a call; the answer's head is there, its body is still to come."""
    with mapped_errors(provider.label):
        response = await http.send(_request(provider, call, http, timeout), stream=True)
    try:
        yield response
    finally:
        with mapped_errors(provider.label):
            await response.aclose()


async def _chunks(provider: Provider, response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes."""
    with mapped_errors(provider.label):
        async for chunk in response.aiter_raw():
            yield chunk


async def _fetch(provider: Provider, call: Call, http: httpx.AsyncClient) -> Reply:
    try:
        async with (
            asyncio.timeout(call.within_s),
            _sent(provider, call, http, _timeouts(provider)) as response,
        ):
            return await _reply(provider, call, response)
    except TimeoutError:
        if call.within_s is None:
            raise
        raise TimedOut(
            f"{provider.label} took longer than {call.within_s:g} s", provider=provider.label
        ) from None


async def _reply(provider: Provider, call: Call, response: httpx.Response) -> Reply:
    """Read a whole answer. Raises what the adapter says its status means."""
    body = bytearray()
    async for chunk in _chunks(provider, response):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            body.clear()  # or the error would keep it for as long as anybody keeps the error
            raise provider.broken(f"an answer of more than {MAX_BODY_BYTES} bytes")
    reply = Reply(response.status_code, _decoded(body))
    if reply.status in call.accept:
        return reply
    if 200 <= reply.status < 300:
        if body and reply.data is None:
            raise provider.broken("an answer that is not JSON")
        return reply
    raise provider.error(reply, _retry_after_s(response.headers))


async def _upload(provider: Provider, upload: Upload, http: httpx.AsyncClient, read: Read) -> Reply:
    """Bring a file where the vendor wants it. Raises Unavailable, and Rejected where trying again
    would not help."""
    label = provider.label
    try:
        url = httpx.URL(upload.url)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if not url.host or url.scheme not in ("https", httpx.URL(provider.base_url).scheme):
        raise provider.broken("an address to upload to that cannot be used")
    request = http.build_request(
        "PUT",
        url,
        content=await read(upload.file),
        headers={"Accept-Encoding": "identity", "Content-Type": upload.file.content_type},
        timeout=_timeouts(provider),
    )
    with mapped_errors(label):
        response = await http.send(request, stream=True)
        await response.aclose()
    status = response.status_code
    if 200 <= status < 300:
        return Reply(status, None)
    where: dict[str, Any] = {"provider": label, "status": status}
    if status in (413, 415):
        raise Rejected(f"the storage of {label} refuses the file (HTTP {status})", **where)
    raise Unavailable(f"HTTP {status} from the storage of {label}", **where)


def _decoded(body: bytes | bytearray) -> Any:
    try:
        data = json.loads(body) if body else None
        return _storable(data) if b"\\u" in body else data
    except (ValueError, RecursionError):
        return None


def _storable(value: Any) -> Any:
    """Return a JSON value without what no database takes: NUL, and halves of characters."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
        case list():
            return [_storable(one) for one in value]
        case dict():
            return {_storable(name): _storable(one) for name, one in value.items()}
        case _:
            return value


def _retry_after_s(headers: httpx.Headers) -> float | None:
    """Return Retry-After in seconds, written as a number or a date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "")
    if value.isdecimal():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


async def _listen(
    provider: Provider, stream: Stream, http: httpx.AsyncClient, sink: Sink
) -> Reply | None:
    """Hand each event to the adapter, and what it says, batch by batch, to the sink.

    Returns the answer that came in place of a stream, if its status is one the call accepts.
    """
    idle_s = provider.number("idle_s")
    loop = asyncio.get_running_loop()
    try:
        async with (
            asyncio.timeout(idle_s) as silence,
            _sent(provider, stream.call, http, _timeouts(provider, streams=True)) as response,
        ):
            if response.status_code in stream.call.accept:
                return await _reply(provider, stream.call, response)
            await _check_stream(provider, stream.call, response)
            reader, size, chunks = EventReader(), 0, _chunks(provider, response)
            noted, patience_s = loop.time(), idle_s
            async for chunk in chunks:
                size += len(chunk)
                if size > MAX_STREAM_BYTES:
                    raise provider.broken(f"a stream of more than {MAX_STREAM_BYTES} bytes")
                batch: list[ProviderEvent] = []
                try:
                    for event in reader.feed(chunk):
                        batch.extend(stream.on_event(event))
                finally:  # what came just before an error is shown as well
                    if batch:
                        await sink(batch)
                kinds = {type(said) for said in batch}
                if stream.over() or Ended in kinds:
                    silence.reschedule(None)
                    await _linger(chunks)
                    return None
                before, patience_s = patience_s, _patience_s(stream, idle_s)
                # Fifty times at most in that long, since moving a timer costs; never too early.
                due = not kinds.isdisjoint(SOUNDS) and loop.time() > noted + patience_s / 50
                if due or patience_s != before:
                    noted = loop.time()
                    silence.reschedule(noted + patience_s * 51 / 50)
    except ProviderError:
        if not stream.ending():
            raise
    except TimeoutError:
        if not stream.ending():
            raise TimedOut(
                f"{provider.label} was silent for {idle_s:g} s", provider=provider.label
            ) from None
    return None


def _patience_s(stream: Stream, idle_s: float) -> float:
    """How long the stream may be silent now."""
    return min(idle_s, ENDING_S) if stream.ending() else idle_s


async def _check_stream(provider: Provider, call: Call, response: httpx.Response) -> None:
    if response.status_code != 200:
        await _reply(provider, call, response)  # raises; a 2xx other than 200 is no stream either
        raise provider.broken(f"HTTP {response.status_code} instead of a stream")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise provider.broken(f"an answer of type {kind[:60]!r} instead of a stream")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise provider.broken("a compressed stream, which was declined")


async def _linger(chunks: AsyncIterator[bytes]) -> None:
    """Read the last bytes behind the end, so that the connection can be used again, if it can."""
    with contextlib.suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(LINGER_S):
            async for _ in chunks:
                pass
