"""The error tree, by what happens next.

ChatWidgetError
├── VaultError               the operator restores the key or enters the secret again
├── UnknownProvider          fix the set-up: no such provider key
├── Unsupported              nothing: the vendor cannot say this, and the operator is shown so
└── ProviderError            something went wrong between us and the vendor
    ├── Unavailable          retry later; a visitor is told `agent_unavailable`
    │   └── RateLimited      the same, after `retry_after_s`
    ├── TimedOut             retry later; `agent_timeout`
    ├── Interrupted          what came is kept, the visitor decides; `interrupted`
    ├── Rejected             the vendor refuses this message; `agent_rejected`
    ├── Misconfigured        the operator fixes the set-up; `agent_misconfigured`
    └── Broken               our bug or the vendor's: an answer outside its contract;
                             `agent_unavailable`

`str(error)` is for us and the operator and never holds a key or a visitor's text; `code` is for
the visitor, whose widget has the words. `permanent` says that repeating will not help.
"""

from typing import ClassVar


class ChatWidgetError(Exception):
    """The root of everything raised on purpose."""


class VaultError(ChatWidgetError):
    """A stored secret cannot be opened."""


class UnknownProvider(ChatWidgetError):
    """No provider has this key."""


class Unsupported(ChatWidgetError):
    """The vendor cannot express what was asked of it."""


class ProviderError(ChatWidgetError):
    """A call to a vendor failed. `status` is the HTTP status where there was one."""

    code: ClassVar[str] = "agent_unavailable"
    permanent: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        provider: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        # A vendor's words may be in it: no half characters, and no NUL, can be stored.
        detail = detail.encode("utf-8", "replace").decode().replace("\x00", "")
        super().__init__(detail or (self.__doc__ or "").partition("\n")[0])
        self.provider = provider
        self.status = status
        self.retry_after_s = retry_after_s


class Unavailable(ProviderError):
    """The vendor cannot be reached or is failing."""


class RateLimited(Unavailable):
    """The vendor asks us to slow down."""


class TimedOut(ProviderError):
    """The vendor did not answer by the deadline."""

    code = "agent_timeout"


class Interrupted(ProviderError):
    """The answer broke off and cannot be taken up again."""

    code = "interrupted"


class Rejected(ProviderError):
    """The vendor refuses this request."""

    code = "agent_rejected"
    permanent = True


class Misconfigured(ProviderError):
    """The vendor refuses our key or address."""

    code = "agent_misconfigured"
    permanent = True


class Broken(ProviderError):
    """The vendor's answer is outside its contract."""
