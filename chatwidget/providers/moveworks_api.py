"""How Moveworks is spoken to: address, bearer, assistant, reads that are tried again, errors.

Source: as `moveworks.py`. Every way to a bearer other than these two (the exchange of a user's own
sign-in, a signed assertion) ends in the same header, and is not offered.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import Misconfigured, ProviderError, RateLimited, Rejected, Unavailable
from . import moveworks_token
from .base import JSON, Call, Field, Provider, Reply, Setup, StepName, Steps, Stream
from .lenient import fields

# Streams may be silent for long; a read has nothing to wait for.
READ_WITHIN_S = 10.0


class MoveworksAPI(Provider):
    """Calls of the Conversations API, below one conversation once there is one."""

    label = "Moveworks"
    default_base_url = "https://api.moveworks.ai"
    credential_fields = (
        Field(
            name="api_key",
            label="API key",
            help="Stands for one user of the organisation: every visitor is answered with that "
            "user's permissions. Or leave it empty and give client id and secret.",
        ),
        Field(name="client_id", label="Client id"),
        Field(name="client_secret", label="Client secret"),
    )
    credential_sets = (("api_key",), ("client_id", "client_secret"))
    api_fields = (
        Field(
            name="assistant_name",
            label="Assistant name",
            required=True,
            help="The Bot Name of a chatbot whose channel is conversationsrestapi, exactly.",
        ),
        Field(
            name="api_version",
            label="API version",
            kind="choice",
            choices=("assistant/v1", "rest/v1", "rest/v1beta1"),
            default="assistant/v1",
            help="Which of the vendor's three generations the organisation has.",
        ),
        Field(
            name="token_path",
            label="Path of the token",
            default="/oauth/v1/token",
            help="Where client id and secret are exchanged. Documented for Moveworks' APIs at "
            "large; that the Conversations API takes such a token is inferred.",
        ),
        Field(
            name="token_body",
            label="Token is asked for by",
            kind="choice",
            choices=("json", "form"),
            default="json",
            help="Both bodies are documented.",
        ),
    )

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.conversation = ""
        self.bearer = ""
        self.doing: StepName = "ask"
        """What the call under way is for: the same status means different things."""

    def headers(self) -> dict[str, str]:
        if not self.bearer:
            return {}
        return {"Authorization": f"Bearer {self.bearer}", "Assistant-Name": self._assistant_name}

    @property
    def _assistant_name(self) -> str:
        name = self.option("assistant_name").strip()
        if not name or not name.isascii() or not name.isprintable():
            raise self.misconfigured(
                "the option Assistant name (assistant_name) must be the Bot Name that Moveworks "
                "shows, in plain letters"
            )
        return name

    @property
    def _api_key(self) -> str:
        return self.setup.credentials.get("api_key", "").strip()

    @property
    def _client(self) -> dict[str, str]:
        names = ("client_id", "client_secret")
        return {name: self.setup.credentials.get(name, "").strip() for name in names}

    @property
    def _kept_as(self) -> str:
        where = (self.base_url, self.option("token_path"))
        return moveworks_token.kept_as(*where, *self._client.values())

    # --- calls ------------------------------------------------------------------------------------

    def path(self, *parts: str) -> str:
        """A path below this conversation; without parts, that of all conversations."""
        below = [self.conversation, *parts] if parts else []
        known = ["", self.option("api_version"), "conversations"]
        return "/".join([*known, *(quote(part, safe="") for part in below)])

    def send(self, step: Call | Stream) -> Steps:
        """Make a call with a bearer that is good; a refused token is replaced once."""
        doing = (step.call if isinstance(step, Stream) else step).step
        yield from self._authenticate()
        self.doing = doing
        try:
            return (yield step)
        except Misconfigured as refused:
            if refused.status != 401 or self._api_key:
                raise
        moveworks_token.forget(self._kept_as, self.bearer)
        yield from self._authenticate()
        self.doing = doing
        return (yield step)

    def get(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        step: StepName = "receive",
        again: bool = True,
        within_s: float = READ_WITHIN_S,
    ) -> Steps:
        """Read what is there; if it fails and `again`, as often as `read` does."""
        call = Call(method="GET", path=path, query=query or {}, within_s=within_s, step=step)
        patient = self.read(call, self.number("poll_s") or 1.0)
        return (yield from patient if again else self.send(call))

    def _authenticate(self) -> Steps:
        self.bearer = self._api_key or moveworks_token.held(self._kept_as)
        if self.bearer:
            return
        if not all(self._client.values()):
            raise self.misconfigured("enter an API key, or a client id and a client secret")
        if not self.option("token_path").startswith("/"):
            raise self.misconfigured("the option Path of the token (token_path) must begin with /")
        self.doing = "authenticate"
        grant = {**self._client, "grant_type": "client_credentials"}
        as_form = self.option("token_body") == "form"
        issued: Reply = yield Call(
            method="POST",
            path=self.option("token_path"),
            json=None if as_form else grant,
            form=grant if as_form else None,
            step="authenticate",
        )
        self.bearer = moveworks_token.keep(self._kept_as, issued.data)
        if not self.bearer:
            raise self.broken("a token answer without a token")

    # --- errors -----------------------------------------------------------------------------------

    def error(self, reply: Reply, retry_after_s: float | None) -> ProviderError:
        words = self.vendor_words(reply.data)
        where: dict[str, Any] = {"provider": self.label, "status": reply.status}
        if "invalid_audience" in json.dumps(reply.data).lower():
            return Misconfigured(
                "the token is for another data centre than the base URL: use the host that "
                f"Moveworks names for the organisation{words}",
                **where,
            )
        match reply.status:
            case 400 | 401 | 403 if self.doing == "authenticate":
                return Misconfigured(
                    f"Moveworks gives no token for this client id and secret{words}", **where
                )
            case 401:
                refused = "API key" if self._api_key else "token"
                return Misconfigured(f"Moveworks refuses the {refused}{words}", **where)
            case 403:
                return Misconfigured(
                    f"Moveworks refuses the assistant {self.option('assistant_name')!r}: it must "
                    "be the Bot Name of a chatbot whose channel is conversationsrestapi, and open "
                    f"to the key's user{words}",
                    **where,
                )
            case 404 if self.doing == "authenticate":
                return Misconfigured(
                    f"Moveworks gives no tokens at {self.base_url}{self.option('token_path')}: "
                    "check the base URL (only the host) and the option Path of the token "
                    f"(token_path){words}",
                    **where,
                )
            case 404 if self.doing == "start":
                return Misconfigured(
                    f"Moveworks has nothing at {self.base_url}{self.path()}: check the data "
                    "centre in the base URL (only the host), the API version, and that the "
                    f"Conversations API is enabled for the organisation{words}",
                    **where,
                )
            case 404:
                return Rejected(f"Moveworks does not know what was asked for{words}", **where)
            case 400:
                return Rejected(
                    "Moveworks refuses the request; where it refuses every question, check the "
                    f"API version{words}",
                    **where,
                )
        return super().error(reply, retry_after_s)

    def error_told(self, data: JSON) -> ProviderError:
        """Return the error that a stream's event or a failed response tells of, as far as it does.

        A failed response has no documented reason; an older edition had `error` there, too.
        """
        error = fields(data).get("error")
        words = self.vendor_words(error)
        match fields(error).get("code"):
            case "RATE_LIMIT_EXCEEDED":
                return RateLimited(f"Moveworks is asked too often{words}", provider=self.label)
            case "UNAUTHORIZED" | "FORBIDDEN":
                return self.misconfigured(f"Moveworks refuses the key or the assistant{words}")
            case "INVALID_INPUT" | "INVALID_REQUEST":
                return Rejected(f"Moveworks refuses the question{words}", provider=self.label)
        return Unavailable(f"Moveworks says that the answer failed{words}", provider=self.label)

    def vendor_words(self, data: JSON) -> str:
        words = super().vendor_words(data)
        return words.replace(self.bearer, "…") if self.bearer else words

    def misconfigured(self, what: str) -> Misconfigured:
        return Misconfigured(what, provider=self.label)

    # --- what came --------------------------------------------------------------------------------

    def id(self, value: JSON, name: str) -> str:
        """Return an opaque id. Its form is the vendor's business, that it can be sent is ours."""
        found = fields(value).get(name)
        if not isinstance(found, str) or not found or not found.isprintable():
            raise self.broken(f"an object without {name}")
        return found
