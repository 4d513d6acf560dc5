"""Secrets at rest: sealed with the first of CREDENTIAL_KEYS, bound to the row that holds them.

Fernet (cryptography's recipe: AES-128-CBC with HMAC-SHA256) proves that the text is ours and
whole; the binding inside proves that it is this row's, so that a value copied into another row,
where someone else may use it, is refused.
"""

import json
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from .errors import VaultError


@cache
def _keys(keys: tuple[str, ...]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:  # not `from`: the chained message would name the key
        raise VaultError(
            "CREDENTIAL_KEYS holds a value that is no Fernet key (32 bytes, URL-safe base64)"
        ) from None


def _fernet() -> MultiFernet:
    return _keys(tuple(settings.CREDENTIAL_KEYS))


@sensitive_variables("values")
def seal(values: dict[str, str], *, bound_to: str) -> str:
    """Return `values` as encrypted text that only `open_sealed(…, bound_to=…)` opens again."""
    return _fernet().encrypt(json.dumps([bound_to, values]).encode()).decode()


@sensitive_variables("values", "plain")
def open_sealed(sealed: str, *, bound_to: str) -> dict[str, str]:
    """Return what was sealed; an empty text holds nothing.

    Raises VaultError when no key fits or the text was sealed for another row: the operator
    then restores the key or enters the credentials again. Never returns the text as it came.
    """
    if not sealed:
        return {}
    try:
        plain = _fernet().decrypt(sealed.encode())
    except InvalidToken:
        raise VaultError(
            "stored credentials cannot be decrypted: none of CREDENTIAL_KEYS fits"
        ) from None
    owner, values = json.loads(plain)
    if owner != bound_to:
        raise VaultError("stored credentials belong to another agent or provider")
    return {str(name): str(value) for name, value in values.items()}


def reseal(sealed: str) -> str:
    """Return the same secret under the first key. Raises VaultError when no key fits."""
    try:
        return _fernet().rotate(sealed.encode()).decode()
    except InvalidToken:
        raise VaultError(
            "stored credentials cannot be decrypted: none of CREDENTIAL_KEYS fits"
        ) from None
