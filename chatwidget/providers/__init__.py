"""The providers, one line each. A new vendor is a module and a line here."""

from ..errors import UnknownProvider
from .base import POLL, Provider, Setup
from .clarityq import ClarityQ
from .demo import Demo
from .moveworks import Moveworks
from .openai import OpenAI
from .raia import Raia
from .siteassist import SiteAssist

PROVIDERS: dict[str, type[Provider]] = {
    "raia": Raia,
    "moveworks": Moveworks,
    "siteassist": SiteAssist,
    "clarityq": ClarityQ,
    "openai": OpenAI,
    "demo": Demo,
}


def provider_class(key: str) -> type[Provider]:
    """Return the adapter class for a provider key. Raises UnknownProvider."""
    try:
        return PROVIDERS[key]
    except KeyError:
        raise UnknownProvider(
            f"there is no provider {key!r}; there are {', '.join(PROVIDERS)}"
        ) from None


__all__ = ["POLL", "PROVIDERS", "Provider", "Setup", "provider_class"]
