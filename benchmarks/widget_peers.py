"""The widgets that `widgets.py` compares: how each gets onto a page, and where its parts are."""

import base64
import hashlib
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .processes import ROOT

KEPT = ROOT / ".venv-benchmarks" / "widgets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A widget: what its page says, and where its launcher and its composer are."""

    label: str
    page: str
    """What a site's page says of it; `%s` stands for the address of its files."""
    launcher: str = ""
    """A selector that also looks into shadow roots; empty: there is none."""
    composer: str = ""
    package: str = ""
    """On npm, with its version; empty: it needs none."""
    integrity: str = ""
    feed: str = ""
    """A script that streams `pieces` into it, and tells by `done()` when all are there."""
    asks: bool = False
    """It is fed by asking a question, which our own server has answered."""


FEED_DEEP_CHAT = """
  await customElements.whenDefined("deep-chat");
  const chat = document.querySelector("deep-chat");
  chat.connect = {stream: true, handler: async (_, signals) => {
    signals.onOpen();
    for (const piece of pieces) {
      signals.onResponse({text: piece});
      await new Promise((on) => setTimeout(on, every));
    }
    signals.onClose();
    done();
  }};
  await new Promise((on) => setTimeout(on, 1000));  // it draws itself anew
  chat.submitUserMessage({text: "Tell me all"});
"""
FEED_TEXTBOOK = """
  const log = document.querySelector("#log");
  let text = "";
  for (const piece of pieces) {
    text += piece;
    log.innerHTML = marked.parse(text);
    await new Promise((on) => setTimeout(on, every));
  }
  done();
"""

BLANK = Peer(label="the page alone", page="")
TEXTBOOK = Peer(
    label="textbook: marked into innerHTML",
    page='<div id="log"></div><script src="/marked.js"></script>',
    feed=FEED_TEXTBOOK,
)
PEERS = (
    Peer(
        label="deep-chat 2.4.2 (no launcher)",
        package="deep-chat@2.4.2",
        integrity="wQNd6Z6HDoH7OMeoQKpmxDm9XdWrRjMkBJ2yl5tsYND9Dz2UCv/"
        "BdGVM8vK2V0mhO1u+OniHYPWDGvjlNxjCeQ==",
        page='<deep-chat></deep-chat><script type="module" src="%s/dist/deepChat.bundle.js">'
        "</script>",
        composer="#text-input",
        feed=FEED_DEEP_CHAT,
    ),
    Peer(
        label="docsgpt 0.5.1",
        package="docsgpt@0.5.1",
        integrity="LtcULlmmhmMhOP1USCXgSe+8boLutsRkrGxXFycH/yU7oBcN2guuUSJcXZi0gn5SBNoJJxYfTXGf"
        "ocgN5Mq1dA==",
        page='<div id="docsgpt"></div><script src="%s/dist/legacy/browser.js"></script>'
        "<script>renderDocsGPTWidget('docsgpt', {apiHost: location.origin})</script>",
        launcher="#docsgpt button, #docsgpt div[class] img",
        composer="#docsgpt textarea, #docsgpt input[type=text]",
    ),
    Peer(
        label="flowise-embed 3.1.6",
        package="flowise-embed@3.1.6",
        integrity="xSrvBDiEvIIzRFsPBgmzG3SdfBeG4wBzdchdMurft5PQcdYO0HfB8cwGhn00fE5JOsdhVZXfJ3Fq"
        "6e/DgrW4ag==",
        page='<script type="module">import Chatbot from "%s/dist/web.js";'
        'Chatbot.init({chatflowid: "x", apiHost: location.origin})</script>',
        launcher="button[part=button]",
        composer="textarea",
    ),
    Peer(
        label="n8n chat 1.37.0",
        package="@n8n/chat@1.37.0",
        integrity="V1EQxDp/+rW6o/5OZgbwDfgPJXG8Jrn3TIdq7Z/26QTP90Uo3g2gv8CMnaQcphdTQVR+K06X34DO"
        "CRHXa8Tqnw==",
        page='<link rel="stylesheet" href="%s/dist/style.css"><script type="module">'
        'import {createChat} from "%s/dist/chat.bundle.es.js";'
        "createChat({webhookUrl: location.origin + '/webhook', loadPreviousSession: false})"
        "</script>",
        launcher=".chat-window-toggle",
        composer=".chat-window textarea",
    ),
)


def files_of(peer: Peer) -> Path:
    """Return where a package's files lie, downloaded and checked if they were not there yet."""
    folder = KEPT / re.sub(r"\W+", "-", peer.package)
    if not folder.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as name:
            command = ["npm", "pack", "--silent", "--pack-destination", name, peer.package]
            subprocess.run(command, check=True, capture_output=True, cwd=name)
            [packed] = Path(name).glob("*.tgz")
            found = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
            if found != peer.integrity:
                raise SystemExit(f"{peer.package} is not what it was: {found}")
            with tarfile.open(packed) as archive:
                archive.extractall(Path(name) / "x", filter="data")
            (Path(name) / "x" / "package").rename(folder)
    return folder
