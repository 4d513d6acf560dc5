"""Who is compared, how each is started, and what each keeps of an answer."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path


def _uvicorn(app: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port)),
        *("--log-level", "warning", "--no-access-log"),
    ]


def _bare(port: int) -> list[str]:
    return _uvicorn("benchmarks.contestants.bare:app", port)


def _naive(port: int) -> list[str]:
    app = "benchmarks.contestants.naive:application"
    return [sys.executable, "-m", "daphne", "-v0", "-b", "127.0.0.1", "-p", str(port), app]


def _chainlit(port: int) -> list[str]:
    app = str(Path(__file__).with_name("chainlit_app.py"))
    given = ["--headless", "--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "chainlit", "run", app, *given]


def _on_daphne(port: int) -> list[str]:
    return [sys.executable, "-m", "chatwidget", "serve", "--port", str(port)]


def _on_uvicorn(port: int) -> list[str]:
    bounds = ["--ws-per-message-deflate", "false", "--ws-max-size", "16384"]
    return [*_uvicorn("chatwidget.asgi:application", port), *bounds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One server beside the others."""

    label: str
    speaks: str
    """Which of `visitors.VISITORS` its visitors are."""
    command: Callable[[int], list[str]] | None = None
    """What starts it on a port; None: visitors go to the upstream."""
    needs: tuple[str, ...] = ()
    """Modules of `benchmarks/requirements.txt` that it cannot do without."""
    env: dict[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.speaks == "chatwidget"

    @property
    def missing(self) -> list[str]:
        """The modules that are not installed here."""
        return [module for module in self.needs if find_spec(module) is None]


BARE, NAIVE, CHAINLIT = "bare", "naive", "chainlit"
"""What the others are measured by."""

CONTESTANTS: dict[str, Contestant] = {
    "direct": Contestant(label="direct (the floor)", speaks="direct"),
    BARE: Contestant(
        label="bare Starlette relay", speaks="plain", command=_bare, needs=("starlette", "uvicorn")
    ),
    NAIVE: Contestant(label="textbook Channels, daphne", speaks="plain", command=_naive),
    CHAINLIT: Contestant(
        label="Chainlit", speaks="chainlit", command=_chainlit, needs=("chainlit",)
    ),
    "daphne": Contestant(label="chatwidget, daphne", speaks="chatwidget", command=_on_daphne),
    "uvicorn": Contestant(
        label="chatwidget, uvicorn", speaks="chatwidget", command=_on_uvicorn, needs=("uvicorn",)
    ),
    "daphne-unmerged": Contestant(
        label="chatwidget, daphne, no merging",
        speaks="chatwidget",
        command=_on_daphne,
        env={"DELTA_WINDOW_S": "0"},
    ),
    "uvicorn-unmerged": Contestant(
        label="chatwidget, uvicorn, no merging",
        speaks="chatwidget",
        command=_on_uvicorn,
        needs=("uvicorn",),
        env={"DELTA_WINDOW_S": "0"},
    ),
}
