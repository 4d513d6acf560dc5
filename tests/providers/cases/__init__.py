"""The vendors under test, one line each, as in the registry."""

from .base import Case, Held
from .clarityq import ClarityQCase
from .moveworks import MoveworksCase
from .openai import OpenAICase
from .raia import RaiaCase
from .siteassist import SiteAssistCase

CASES: dict[str, type[Case]] = {
    case.provider: case
    for case in (
        RaiaCase,
        MoveworksCase,
        SiteAssistCase,
        ClarityQCase,
        OpenAICase,
    )
}

__all__ = ["CASES", "Case", "Held"]
