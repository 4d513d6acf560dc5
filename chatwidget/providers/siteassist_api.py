"""SiteAssist's session and errors: what every call has in common.

The publishable key opens visitor sessions only. All else carries the session token of one visitor,
who is named by a `saVid` that we choose. A token lapses after a time that is not documented, so it
is kept by this process only: where it is refused or forgotten, `identity/init` gives a new one, and
older ones stay good until they lapse.
"""

import hashlib
import threading
from collections import OrderedDict
from typing import Any
from urllib.parse import quote, urlsplit

from django.utils.crypto import salted_hmac

from ..errors import Misconfigured, ProviderError, Rejected
from .base import JSON, Call, Field, Provider, Reply, Steps, Stream
from .lenient import fields, objects, web_address
from .siteassist_text import uuid_of

MOST_TOKENS = 10_000
"""Visitors whose token is kept; beyond that, the one not heard of for longest makes room."""
LONGEST_WAIT_S = 24 * 3600.0
"""The longest wait that is believed; a number can be too great for what computes with it."""
PAGE = 100
"""Conversations in one list, as many as the vendor gives."""
PLAN = {"currentPlan": "it has", "requiredPlan": "it needs", "feature": "for"}


class Tokens:
    """The session tokens of this process, by visitor."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()  # a connection test may run in another thread

    def held(self, name: str) -> str:
        """Return the token, or "" if there is none."""
        with self._lock:
            if name in self._tokens:
                self._tokens.move_to_end(name)
            return self._tokens.get(name, "")

    def keep(self, name: str, token: str) -> None:
        """Keep a token in place of an earlier one."""
        with self._lock:
            self._tokens[name] = token
            self._tokens.move_to_end(name)
            if len(self._tokens) > MOST_TOKENS:
                self._tokens.popitem(last=False)


TOKENS = Tokens()


class SiteAssistApi(Provider):
    """Calls in the name of one visitor."""

    label = "SiteAssist"
    default_base_url = "https://api.siteassist.io/v2"
    credential_fields = (
        Field(
            name="publishable_key",
            label="Publishable key",
            required=True,
            help="In SiteAssist: the project's settings, API keys. Not the private key, which "
            "opens no visitor's conversation.",
        ),
    )

    secret_ids = frozenset({"sa_vid"})

    sa_vid = ""
    """The visitor's name there. With the key, which is public, it is all that is needed to be this
    visitor: never show it."""
    _token = ""

    def headers(self) -> dict[str, str]:
        token = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return self.origin() | token

    def origin(self) -> dict[str, str]:
        """Return the header for whatever address the operator typed, {} for none."""
        typed = self.option("origin").strip()
        if not typed:
            return {}
        if not web_address(typed) or not typed.isascii():
            raise Misconfigured(
                "the option Origin (origin) must be a website's address, such as "
                "https://www.example.com",
                provider=self.label,
            )
        address = urlsplit(typed)
        return {"Origin": f"{address.scheme}://{address.netloc}"}

    # --- the visitor ------------------------------------------------------------------------------

    def new_sa_vid(self, visitor: str) -> str:
        """Return a keyed hash: nobody can guess it, and two first questions at once agree on it."""
        made = salted_hmac("SiteAssist saVid", f"{self.key}:{visitor}", algorithm="sha256")
        return made.hexdigest()[:32]

    def send(self, step: Call | Stream) -> Steps:
        """Make a call as the visitor.

        A lapsed token is renewed once, also for a send: a 401 proves that nothing was accepted.
        """
        self._token = TOKENS.held(self._session)
        if not self._token:
            yield from self._init()
        try:
            return (yield step)
        except Misconfigured as refused:
            if refused.status != 401:
                raise
        yield from self._init()
        return (yield step)

    def _init(self) -> Steps:
        self._token = ""
        reply: Reply = yield Call(
            method="POST",
            path="/identity/init",
            json={"apiKey": self.key, "saVid": self.sa_vid},
            step="authenticate",
        )
        token = fields(reply.data).get("sessionToken")
        if not isinstance(token, str) or not token or not token.isascii():
            raise self.broken("a session without a token")
        self._token = token
        TOKENS.keep(self._session, token)

    @property
    def key(self) -> str:
        return self.setup.credentials.get("publishable_key", "")

    @property
    def _session(self) -> str:
        """What the token is kept under; it tells neither key nor visitor."""
        whose = "\0".join((self.base_url, self.key, self.sa_vid))
        return hashlib.sha256(whose.encode()).hexdigest()

    # --- what can be read -------------------------------------------------------------------------

    def path(self, conversation: str) -> str:
        return f"/conversations/{quote(conversation, safe='')}"

    def messages(self, conversation: str, **query: str) -> Steps:
        """All messages, oldest first."""
        reply: Reply = yield from self.send(
            Call(
                method="GET",
                path=f"{self.path(conversation)}/messages",
                query=query,
                step="receive",
            )
        )
        messages = fields(reply.data).get("data")
        if not isinstance(messages, list):
            raise self.broken("a message list without messages")
        return objects(messages)

    def is_human(self, conversation: str) -> Steps:
        """Return whether a person has the conversation; None if it does not say."""
        data = yield from self._conversation(conversation)
        flag = data.get("isHumanHandled")
        return flag if isinstance(flag, bool) else None

    def is_open(self, conversation: str) -> Steps:
        """Return whether more can be said in it: it is there, still ours, and not closed.

        An id that another vendor gave, whose agent this was, is no id here.
        """
        data = yield from self._conversation(conversation, accept=(400, 403, 404, 422))
        return data.get("status") == "open"

    def open_conversations(self) -> Steps:
        """Return the ids of all that the visitor has open."""
        found: list[str] = []
        while True:
            page = {"status": "open", "limit": str(PAGE), "offset": str(len(found))}
            reply: Reply = yield from self.send(
                Call(method="GET", path="/conversations", query=page)
            )
            listed = fields(reply.data).get("data")
            if not isinstance(listed, list):
                raise self.broken("a list of conversations without any")
            found += [self.id_of(one) for one in listed]
            if len(listed) < PAGE:
                return found

    def _conversation(self, conversation: str, accept: tuple[int, ...] = ()) -> Steps:
        reply: Reply = yield from self.send(
            Call(method="GET", path=self.path(conversation), accept=accept, step="receive")
        )
        return fields(reply.data)

    # --- errors -----------------------------------------------------------------------------------

    def error(self, reply: Reply, retry_after_s: float | None) -> ProviderError:
        """The vendor's codes are a catalogue rather than a promise, so the status decides."""
        status, told = reply.status, fields(fields(reply.data).get("error"))
        details = fields(told.get("details"))
        where: dict[str, Any] = {"provider": self.label, "status": status}
        words = self.vendor_words(reply.data)
        match status:
            case 402:
                plan = ", ".join(
                    f"{PLAN[name]} {details[name]}" for name in PLAN if name in details
                )
                return Misconfigured(
                    f"the SiteAssist plan does not include this (HTTP 402){words}. Change the plan "
                    f"there{f' ({plan})' if plan else ''}",
                    **where,
                )
            case 403:
                return Misconfigured(
                    f"SiteAssist refuses the key or this website (HTTP 403){words}. If the key is "
                    "bound to websites, name one of them in the option Origin",
                    **where,
                )
            case 400 | 404 | 409 | 413 | 422:
                code = f" {told['code']}"[:60] if isinstance(told.get("code"), str) else ""
                return Rejected(f"SiteAssist refuses the request (HTTP {status}{code})", **where)
        after = details.get("retryAfter")  # seconds; no header is documented
        if isinstance(after, int | float) and after >= 0:
            retry_after_s = max(float(min(after, LONGEST_WAIT_S)), retry_after_s or 0.0)
        return super().error(reply, retry_after_s)

    def secrets(self) -> list[str]:
        return [*super().secrets(), *filter(None, (self._token, self.sa_vid))]

    # --- answers ----------------------------------------------------------------------------------

    def id_of(self, value: JSON) -> str:
        """Return an object's id. Raises Broken if it has none."""
        found = uuid_of(fields(value).get("id"))
        if not found:
            raise self.broken("an object without a proper id")
        return found
