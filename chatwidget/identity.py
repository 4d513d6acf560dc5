"""Signed-in visitors: the site says who somebody is, by a token that its own server has signed.

A JSON Web Token (RFC 7519), signed with a secret that the site shares with this service (HS256) or
with a private key of which this service has the public half (RS256). A widget has up to two keys,
so that one can be replaced while the other is in use. Which algorithm fits is a matter of the key,
never of the token (RFC 8725, 3.1).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from .errors import VaultError
from .models import MAX_IDENTITY, MAX_NAME, Widget
from .serializers import as_stored

MAX_TOKEN = 8000
LONGEST = timedelta(hours=24)
"""A token's end may be this far away, at most: whoever was signed out is so a day later."""
LEEWAY = timedelta(seconds=30)
"""Clocks differ."""
LEAST_SECRET, LEAST_RSA_BITS = 32, 2048


class IdentityError(Exception):
    """The token does not say who somebody is. `expired` tells whether it once did."""

    def __init__(self, detail: str, *, expired: bool = False) -> None:
        super().__init__(detail)
        self.detail, self.expired = detail, expired


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is at the site: `sub` as it came, and a name to show to operators."""

    sub: str
    name: str


def algorithm_of(key: str) -> str:
    """Return the one algorithm that a key is for. Raises ValueError, with what to change."""
    if "-----BEGIN" not in key:
        if len(key.encode()) < LEAST_SECRET:
            raise ValueError(f"A secret has at least {LEAST_SECRET} characters.")
        return "HS256"
    if "PRIVATE" in key:
        raise ValueError("This is a private key: keep it on your server, and paste the public one.")
    try:
        public = load_pem_public_key(key.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("This is no public key in PEM form.") from None
    if not isinstance(public, RSAPublicKey) or public.key_size < LEAST_RSA_BITS:
        raise ValueError(f"An RSA key of at least {LEAST_RSA_BITS} bits is needed.")
    return "RS256"


@sensitive_variables("keys")
def verify(widget: Widget, token: str) -> Identity:
    """Return who the token says somebody is. Raises IdentityError, with words for developers."""
    try:
        keys = list(widget.identity_keys.values())
    except VaultError:
        raise IdentityError("The widget's identity keys cannot be read: see its page.") from None
    if not keys:
        raise IdentityError("This widget has no key for signed-in visitors: add one in the admin.")
    if len(token) > MAX_TOKEN:
        raise IdentityError("The identity token is too long.")
    for key in keys:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm_of(key)],
                audience=widget.key,
                leeway=LEEWAY,
                options={"require": ["exp", "aud", "sub"]},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
            continue  # perhaps it is the other key's
        except jwt.ExpiredSignatureError:
            raise IdentityError("The identity token has expired.", expired=True) from None
        except jwt.InvalidAudienceError:
            raise IdentityError("The identity token's aud is not this widget's key.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            raise IdentityError(
                "The identity token is not acceptable: it needs sub (text), aud (the widget's key) "
                "and exp, and must not be of the future."
            ) from None
        return _identity(claims)
    raise IdentityError("The identity token is signed with none of this widget's keys.")


def _identity(claims: dict[str, Any]) -> Identity:
    sub, name = claims["sub"], claims.get("name")
    if (
        not isinstance(sub, str)
        or not sub.strip()
        or len(sub) > MAX_IDENTITY
        or sub != as_stored(sub)
    ):
        raise IdentityError(f"The identity token's sub is text of 1 to {MAX_IDENTITY} characters.")
    latest = timezone.now() + LONGEST + LEEWAY
    if int(claims["exp"]) > latest.timestamp():
        raise IdentityError("The identity token's exp is more than 24 hours away.")
    return Identity(sub=sub, name=as_stored(name[:MAX_NAME]) if isinstance(name, str) else "")
