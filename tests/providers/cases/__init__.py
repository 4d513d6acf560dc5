"""The vendors under test, one line each, as in the registry."""

from .base import Case, Held
from .clarityq import ClarityQCase
from .openai import OpenAICase
from .raia import RaiaCase

CASES: dict[str, type[Case]] = {
    case.provider: case
    for case in (
        RaiaCase,
        ClarityQCase,
        OpenAICase,
    )
}

__all__ = ["CASES", "Case", "Held"]
