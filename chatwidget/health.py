"""For whoever watches the service: alive, ready, and its numbers."""

import asyncio
from collections.abc import Callable

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from . import process
from .metrics import tasks

LAYER_TIMEOUT_S = 3

View = Callable[[HttpRequest], HttpResponse]


def to_read(view: View) -> View:
    """Have a page only read, and anew each time. Others are told 405; nobody here has a form."""
    return csrf_exempt(never_cache(require_safe(view)))


_collectors: list[Callable[[], None]] = []


def collect(gather: Callable[[], None]) -> Callable[[], None]:
    """Have `gather` set its gauges whenever somebody reads `/metrics`."""
    _collectors.append(gather)
    return gather


_watched: dict[str, Callable[[], bool]] = {}


def watch(name: str) -> Callable[[Callable[[], bool]], Callable[[], bool]]:
    """Have `/workz` name `name` when the function says that this work is late."""

    def register(is_late: Callable[[], bool]) -> Callable[[], bool]:
        _watched[name] = is_late
        return is_late

    return register


@collect
def _count_tasks() -> None:
    tasks.set(process.count_tasks())


@to_read
def alive(request: HttpRequest) -> HttpResponse:
    """200 as long as requests are answered at all."""
    return JsonResponse({"status": "ok"})


@to_read
def ready(request: HttpRequest) -> HttpResponse:
    """200 when database and channel layer answer, else 503 naming what does not."""
    failing = [
        name for name, check in (("database", _database), ("channel_layer", _layer)) if not check()
    ]
    if process.is_draining():
        failing.append("draining")
    if failing:
        return JsonResponse({"status": "unavailable", "failing": failing}, status=503)
    return JsonResponse({"status": "ok"})


@to_read
def work(request: HttpRequest) -> HttpResponse:
    """200 when background work keeps up, else 503 naming what is late: for alarms, not for a
    proxy, since another process would be no better."""
    late = [name for name, is_late in _watched.items() if is_late()]
    if late:
        return JsonResponse({"status": "late", "late": late}, status=503)
    return JsonResponse({"status": "ok"})


def _database() -> bool:
    connection.close()  # one that was open before still answers when its file is gone
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _layer() -> bool:
    async def round_trip() -> None:
        layer = get_channel_layer()
        async with asyncio.timeout(LAYER_TIMEOUT_S):
            channel = await layer.new_channel()
            await layer.send(channel, {"type": "ready"})
            await layer.receive(channel)

    try:
        async_to_sync(round_trip)()
    except (OSError, TimeoutError):
        return False
    except Exception as error:  # redis-py's errors, where Redis is used at all
        if type(error).__module__.partition(".")[0] == "redis":
            return False
        raise
    return True


@to_read
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format."""
    for gather in _collectors:
        gather()
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
