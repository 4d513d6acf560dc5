"""Visitors' bearer tokens: 256 random bits, of which the database keeps the hash.

They travel in the Authorization header or in a socket's first frame, never in an address.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from .models import Visitor, VisitorToken, token_hash
from .prepared import Prepared

# Long after its end a token is still told from one that never was.
REMEMBER = timedelta(days=30)


class TokenError(Exception):
    """The token opens nothing. `code` is `token_invalid` or `token_expired`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


SIGNED_IN = timedelta(hours=24)
"""A signed-in visitor's token lasts so long: then the site is to say again who they are."""


def issue(visitor: Visitor) -> str:
    """Return a new token for `visitor`."""
    token = f"vt_{secrets.token_urlsafe(32)}"
    life = SIGNED_IN if visitor.identity else timedelta(days=settings.VISITOR_TOKEN_DAYS)
    VisitorToken.objects.create(
        visitor=visitor, hash=token_hash(token), expires_at=timezone.now() + life
    )
    return token


def find(token: str) -> VisitorToken:
    """Return the stored token, with its visitor, widget and agent. Raises TokenError."""
    stored = _stored.first(token_hash(token))
    if stored is None:
        raise TokenError("token_invalid", "This token is not known here.")
    visitor = stored.visitor
    _check(stored.expires_at, stranger=visitor.widget.identity_required and not visitor.identity)
    return stored


@Prepared
def _stored(hashed: str) -> QuerySet[VisitorToken]:
    return VisitorToken.objects.select_related("visitor__widget__agent").filter(hash=hashed)


@dataclass(frozen=True, slots=True)
class Holder:
    """What a socket has to know of who holds a token."""

    visitor: str
    origins: list[Any] = field(repr=False)
    """The widget's, as they are stored."""


def holder(token: str) -> Holder:
    """Return who holds the token, at a quarter of the cost of `find`. Raises TokenError."""
    for expires_at, visitor, origins, required, identity in _holders(token_hash(token)):
        _check(expires_at, stranger=required and not identity)
        return Holder(str(visitor), origins)
    raise TokenError("token_invalid", "This token is not known here.")


@Prepared
def _holders(hashed: str) -> QuerySet[Any, tuple[Any, ...]]:
    return VisitorToken.objects.filter(hash=hashed).values_list(
        *("expires_at", "visitor_id", "visitor__widget__origins"),
        *("visitor__widget__identity_required", "visitor__identity"),
    )


def _check(expires_at: datetime, *, stranger: bool) -> None:
    if stranger:
        raise TokenError("token_invalid", "This chat is for signed-in visitors.")
    if expires_at <= timezone.now():
        raise TokenError("token_expired", "This token has expired: open a new session.")


def needs_renewal(stored: VisitorToken) -> bool:
    """Whether less than half of the token's life is left, and it may be renewed by itself."""
    if stored.visitor.identity:
        return False
    return stored.expires_at - timezone.now() < timedelta(days=settings.VISITOR_TOKEN_DAYS) / 2


class VisitorAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`."""

    def authenticate(self, request: Request) -> tuple[Visitor, VisitorToken] | None:
        """Return the visitor and their token; None without the header, 401 with a bad one."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer" or not token.strip():
            raise AuthenticationFailed("Send `Authorization: Bearer <token>`.", "token_invalid")
        try:
            stored = find(token.strip())
        except TokenError as refused:
            raise AuthenticationFailed(refused.detail, refused.code) from refused
        return stored.visitor, stored

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class IsVisitor(BasePermission):
    """Lets in whoever came with a visitor's token."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, Visitor)
