"""`manage.py serve`: daphne with this service's limits, and a clean end."""

import asyncio
import logging
import os
import signal
import threading
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chatwidget import process

log = logging.getLogger(__name__)

FRAME_BYTES = 16 * 1024
DRAIN_S, LAST_RESORT_S = 10.0, 2.0
SOCKET_S = 13 * 3600  # our own close comes first
BACKLOG = 1024
"""How many may knock in one moment, as after a restart. With Twisted's 50, others wait a second."""


class Command(BaseCommand):
    """One process: HTTP, WebSocket, turns, and (by default) background work."""

    help = "Serve with daphne."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--migrate", action="store_true", help="Migrate before serving.")
        parser.add_argument("--demo", action="store_true", help="Serve the demo site at /.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until SIGINT or SIGTERM."""
        host, port = options["host"], options["port"]
        self.check(display_num_errors=False)
        if options["migrate"] or options["demo"]:
            call_command("migrate", verbosity=0)
        if options["demo"]:
            self._prepare_demo(host, port)
        self._serve(host, port)

    def _prepare_demo(self, host: str, port: int) -> None:
        from chatwidget.demo import prepare

        settings.DEMO_SITE = True
        account = prepare()
        base = f"http://{host}:{port}"
        self._greeting = (
            f"\n  Demo site   {base}/\n  Admin       {base}/admin/\n"
            f"  Sign in as  {account.username} / {account.password}\n\n  Ctrl-C stops.\n"
        )

    _greeting = _refusal = ""

    def _serve(self, host: str, port: int) -> None:
        from autobahn.websocket import protocol as websocket_protocol
        from daphne import http_protocol, ws_protocol
        from daphne.endpoints import build_endpoint_description_strings
        from daphne.server import reactor

        from chatwidget.asgi import application
        from chatwidget.bounded import BoundedRequest, BoundedServer, BoundedSocket

        # They have no other place to say so. Autobahn lays out its settings for each socket's log.
        vars(websocket_protocol)["pformat"] = repr
        http_protocol.WebRequest = BoundedRequest
        ws_protocol.WebSocketFactory.protocol = BoundedSocket
        (endpoint,) = build_endpoint_description_strings(host=host, port=port)
        server = BoundedServer(
            application,
            endpoints=[f"{endpoint}:backlog={BACKLOG}"],
            signal_handlers=False,
            websocket_timeout=SOCKET_S,
            websocket_max_message_size=FRAME_BYTES,
            websocket_max_frame_size=FRAME_BYTES,
            proxy_forwarded_proto_header="X-Forwarded-Proto" if settings.TRUSTED_PROXIES else None,
            server_name="chatwidget",
            verbosity=0,
        )
        self._listening = server.listen_success
        server.listen_success = self._greet
        server.listen_error = self._cannot_listen
        loop = reactor._asyncioEventloop  # daphne made it; the policy's own is another one
        ending: list[asyncio.Task[None]] = []

        async def end(linger_s: float) -> None:
            process.leave()
            await asyncio.sleep(linger_s)  # who asks meanwhile is told to go elsewhere
            for listener in server.listeners:
                listener.addCallback(lambda port: port and port.stopListening())
            try:
                async with asyncio.timeout(DRAIN_S):
                    await process.drain()
            except Exception:
                log.exception("the process did not end cleanly")
            # A request's thread that waits for this loop would keep the process for good.
            last_resort = threading.Timer(LAST_RESORT_S, os._exit, (0,))
            last_resort.daemon = True
            last_resort.start()
            reactor.stop()

        def on_signal(linger_s: float = 0) -> None:
            if ending:  # the second Ctrl-C does not wait
                reactor.stop()
                return
            ending.append(loop.create_task(end(linger_s)))

        # Listening fails before the reactor runs, and what does not run cannot be stopped.
        self._stop = partial(reactor.callWhenRunning, on_signal)
        loop.add_signal_handler(signal.SIGINT, on_signal)
        loop.add_signal_handler(signal.SIGTERM, on_signal, settings.LINGER_S)
        loop.call_soon(process.start)
        server.run()
        if self._refusal:
            raise CommandError(self._refusal)

    def _cannot_listen(self, failure: Any) -> None:
        self._refusal = failure.getErrorMessage()
        self._stop()

    def _greet(self, port: Any) -> Any:
        self._listening(port)
        address = port.getHost()
        self.stdout.write(self._greeting or f"Serving on http://{address.host}:{address.port}")
        self.stdout.flush()
        return port  # for whoever wants to stop listening
