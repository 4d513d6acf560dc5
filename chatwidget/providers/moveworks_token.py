"""Access tokens of Moveworks' client credentials, kept by this process as long as they are good.

The vendor's pages disagree on how long a token lives (60 seconds, an hour), so nothing but its own
`expires_in` counts. Answers come nested in `data` or flat; both are documented.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

from .base import JSON

UNTOLD_LIFETIME_S = 60.0
"""The shorter of the documented lifetimes, for an answer that names none."""
EARLY_SHARE, EARLY_S = 0.8, 10.0
"""Renewed at this share of the lifetime or this long before its end, whichever is earlier."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer, and when (`monotonic`) another one should be fetched."""

    bearer: str = field(repr=False)
    renew_at: float


_tokens: dict[str, Token] = {}


def kept_as(*parts: str) -> str:
    """Return the name under which these credentials' token is kept; it does not tell them."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def held(credentials: str) -> str:
    """Return a bearer that is good for now, or ""."""
    token = _tokens.get(credentials)
    return token.bearer if token and monotonic() < token.renew_at else ""


def keep(credentials: str, answer: JSON) -> str:
    """Keep the token of the vendor's answer and return its bearer, or "" if there is none in it."""
    data = answer.get("data", answer) if isinstance(answer, Mapping) else None
    bearer = data.get("access_token") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(bearer, str) or not bearer:
        return ""
    lasts_s = data.get("expires_in")
    lasts_s = float(lasts_s) if isinstance(lasts_s, int | float) else UNTOLD_LIFETIME_S
    early_s = min(lasts_s * EARLY_SHARE, lasts_s - EARLY_S)
    _tokens[credentials] = Token(bearer, monotonic() + early_s)
    return bearer


def forget(credentials: str, bearer: str) -> None:
    """Drop a token that was refused, unless another turn has fetched a newer one already."""
    token = _tokens.get(credentials)
    if token and token.bearer == bearer:
        del _tokens[credentials]
