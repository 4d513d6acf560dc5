"""Limits per visitor and per address, shared by all processes through the database.

The generic cell rate algorithm: each key stores the one moment at which its whole burst will be
available again; a hit moves that moment one interval later, unless it would then lie further
ahead than the burst allows. One statement does both, so a race cannot overshoot.
"""

import hashlib
import hmac
import ipaddress
import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from . import process
from .models import Visitor


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` hits at once, given back evenly over `per_s` seconds."""

    scope: str
    count: int
    per_s: float


SENDS = Rate("send", 30, 60)
SENDS_OF_ADDRESS = Rate("send-address", 240, 60)
SESSIONS = Rate("session", 30, 60)
UPLOADS = Rate("upload", 20, 600)
UPLOADS_OF_ADDRESS = Rate("upload-address", 60, 600)
VOTES = Rate("vote", 60, 60)
SOCKETS = Rate("socket", 60, 60)

HIT = {
    "sqlite": """
        INSERT INTO chatwidget_ratelimit AS kept (key, free_at)
        VALUES (%(key)s, %(now)s + %(step)s)
        ON CONFLICT (key) DO UPDATE SET free_at = MAX(kept.free_at, %(now)s) + %(step)s
        WHERE MAX(kept.free_at, %(now)s) + %(step)s <= %(now)s + %(burst)s
        RETURNING free_at
    """
}
HIT["postgresql"] = HIT["sqlite"].replace("MAX(", "GREATEST(")


def hit(rate: Rate, ident: str) -> float:
    """Count one hit. Returns 0, or the seconds to wait if the limit is reached (not counted)."""
    if not settings.RATE_LIMITS:
        return 0.0
    step = rate.per_s / rate.count
    key = f"{rate.scope}:{_pseudonym(ident)}"
    # A hair over the burst, so that rounding never costs the last hit.
    values: dict[str, str | float] = {
        "key": key,
        "now": time.time(),
        "step": step,
        "burst": rate.per_s + step / 1000,
    }
    with connection.cursor() as cursor:
        cursor.execute(HIT[connection.vendor], values)
        if cursor.fetchone():
            return 0.0
        cursor.execute("SELECT free_at FROM chatwidget_ratelimit WHERE key = %s", [key])
        row = cursor.fetchone()
    return max(step / 1000, row[0] - values["now"] - rate.per_s + step) if row else step


def _pseudonym(ident: str) -> str:
    """Addresses are personal data, so no table holds them: a keyed hash stands in."""
    return hmac.new(settings.SECRET_KEY.encode(), ident.encode(), hashlib.sha256).hexdigest()[:32]


def address(forwarded: str, remote: str) -> str:
    """Return whose address counts, believing only the proxies that settings name.

    Of IPv6 that is the network of 64 bits, since a single customer has all addresses in it.
    """
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    trusted = settings.TRUSTED_PROXIES
    found = hops[-trusted] if trusted and len(hops) >= trusted else remote
    try:
        ip = ipaddress.ip_address(found)
    except ValueError:
        return found  # a Unix socket has none
    if ip.version == 4:
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))


class Throttle(BaseThrottle):
    """REST framework's hook for the limits of one view; all are counted by one commit."""

    of_visitor: Rate | None = None
    of_address: Rate | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the request unless it only reads."""
        if request.method in ("GET", "HEAD", "OPTIONS") or not settings.RATE_LIMITS:
            return True
        counted: list[tuple[Rate, str]] = []
        if self.of_visitor and isinstance(request.user, Visitor):
            counted.append((self.of_visitor, str(request.user.pk)))
        if self.of_address:
            meta = request.META
            forwarded, remote = meta.get("HTTP_X_FORWARDED_FOR", ""), meta.get("REMOTE_ADDR", "")
            counted.append((self.of_address, address(forwarded, remote)))
        self.wait_s = process.commit(lambda: max((hit(*one) for one in counted), default=0.0))
        return self.wait_s == 0

    def wait(self) -> float:
        return self.wait_s


class SendThrottle(Throttle):
    of_visitor, of_address = SENDS, SENDS_OF_ADDRESS


class SessionThrottle(Throttle):
    of_address = SESSIONS


class UploadThrottle(Throttle):
    of_visitor, of_address = UPLOADS, UPLOADS_OF_ADDRESS


class VoteThrottle(Throttle):
    of_visitor = VOTES
