"""ClarityQ: a question becomes SQL over an organisation's data, and the outcome a short text.

Source: the vendor's published definition of "Submit feedback" and the pages of docs.clarityq.ai on
asking and on status; docs/providers/clarityq.md tells which facts are inferred. `X-API-Key` on
every call; a key belongs to one product and acts with the role of whoever made it.

A turn: ask, look at the status until it is `COMPLETED` or `ERROR`, read the answer. Asking is what
begins a conversation, and no page shows a second question in one: each question has its own, whose
id belongs to the answer. There is no idempotency key and no list to look a question up in, so an
ask whose fate is unknown is neither repeated nor found again.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from ..errors import (
    Interrupted,
    Misconfigured,
    ProviderError,
    Rejected,
    Unavailable,
    Unsupported,
)
from ..events import Ended, Finish, Learned, Sending, Text
from .base import (
    DEADLINES,
    JSON,
    POLL,
    Ask,
    Call,
    Field,
    Flow,
    Pause,
    Provider,
    Rating,
    Reply,
    Steps,
)
from .lenient import fields, objects
from .tables import table

RATINGS = {"up": "POSITIVE", "down": "NEGATIVE", None: None}
SAID_BY = {"visitor": "Visitor", "agent": "Assistant", "human": "Staff"}
PROMPT = """\
<earlier_conversation>
{earlier}
</earlier_conversation>

The above is for context only. Answer this question:

{question}"""
COMMENT_LIMIT = 2000


class ClarityQ(Provider):
    """One product, named by `product_id` and its key."""

    label = "ClarityQ"
    default_base_url = "https://api.clarityq.ai"
    credential_fields = (
        Field(
            name="api_key",
            label="API key",
            required=True,
            help="In ClarityQ: Settings, API. Best made by a service account that may see only "
            "what every visitor may: the key asks with its maker's role.",
        ),
    )
    option_fields = (
        Field(
            name="product_id",
            label="Product id",
            required=True,
            help="The product the key was made for, such as 3f0c1d9e-….",
        ),
        Field(
            name="answer_path",
            label="Path of the answer",
            default="/api/v1/products/{product_id}/conversations/{conversation_id}/summary",
            help="ClarityQ documents no call that reads an answer; this path is inferred. Change "
            "it if the vendor names another.",
        ),
        Field(
            name="show_tables",
            label="Show tables",
            kind="choice",
            choices=("off", "on"),
            default="off",
            help="Rows of queries may hold what a visitor must not see.",
        ),
        Field(
            name="context_chars",
            label="Earlier text sent along (characters)",
            kind="number",
            default=2000.0,
            help="Each question begins a conversation of its own there. So as much of ours, the "
            "newest of it, is written into the prompt: without it, ClarityQ does not understand a "
            "reply to what it asked back. 0: each question is asked alone.",
        ),
        POLL,
        *DEADLINES,
    )
    takes_votes = True
    clears_votes = True
    takes_comments = True
    comment_needs_vote = False
    comment_limit = COMMENT_LIMIT
    resumes = True

    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.setup.credentials.get("api_key", "")}

    # --- a turn -----------------------------------------------------------------------------------

    def answer(self, ask: Ask) -> Flow:
        """Ask, wait, read."""
        conversation, status = ask.known.answer.get("conversation", ""), "IN_PROGRESS"
        if not conversation:
            conversation, status = yield from self._ask(ask)
        while status not in ("COMPLETED", "ERROR"):
            yield Pause(ask.pace.next())
            found = yield from self._read(f"{self._path(conversation)}/status")
            status = self._status(found.data)
        if status == "ERROR":  # no call tells why
            raise Unavailable("ClarityQ says that the answer failed", provider=self.label)
        text = yield from self._answer_text(ask, conversation)
        yield Learned(answer_id=conversation)
        yield Text(text)
        yield Ended(Finish.COMPLETE)

    def _ask(self, ask: Ask) -> Steps:
        """Ask once. Returns the new conversation's id and its status, which may be final."""
        path = f"{self._product}/ask"
        self._answer_path("")  # a question whose answer could not be read is not asked
        if ask.sent_before:
            raise Interrupted(
                "it is not known whether the question reached ClarityQ", provider=self.label
            )
        yield Sending()
        asked: Reply = yield Call(
            method="POST",
            path=path,
            json={"prompt": self._prompt(ask)},
            accept=(404,),
            step="ask",
        )
        if asked.status == 404:
            raise self._misconfigured("ClarityQ has no such product: check Product id and address")
        status = self._status(asked.data)  # beside it, `message` is a remark, not the answer
        try:
            conversation = str(UUID(asked.data.get("conversation_id")))
        except (ValueError, TypeError, AttributeError):
            raise self.broken("a conversation without a proper id") from None
        yield Learned(answer={"conversation": conversation})
        return conversation, status

    def _prompt(self, ask: Ask) -> str:
        """The question, behind as much of the conversation's newest text as is wanted."""
        room = int(self.number("context_chars"))
        earlier: list[str] = []
        for past in reversed(ask.history):
            said = f"{SAID_BY[past.role]}: {past.text}"[: max(0, room)]
            if not said:
                break
            room -= len(said)
            earlier.insert(0, said)
        if not earlier:
            return ask.text
        return PROMPT.format(earlier="\n".join(earlier), question=ask.text)

    def _read(self, path: str, accept: tuple[int, ...] = ()) -> Steps:
        call = Call(method="GET", path=path, accept=accept, step="receive")
        return (yield from self.read(call, self.number("poll_s") or 1.0))

    def _status(self, data: JSON) -> str:
        status = fields(data).get("status")
        if not isinstance(status, str):
            raise self.broken("an answer without a status")
        return status

    # --- the answer: its path is inferred, its body is that of a task's last run ------------------

    def _answer_text(self, ask: Ask, conversation: str) -> Steps:
        """Return the answer as Markdown. The conversation exists, so a 404 is about the path."""
        path = self._answer_path(conversation)
        while True:
            found = yield from self._read(path, accept=(404, 405, 409))
            if found.status != 409:  # that is: not completed, whatever the status said
                break
            yield Pause(ask.pace.next())
        if found.status != 200:
            raise self._misconfigured(
                f"nothing is at the path the answer is read from (HTTP {found.status}): change "
                "the option Path of the answer (answer_path)"
            )
        data = fields(found.data)
        summary = data.get("summary")
        parts = [summary] if isinstance(summary, str) and summary.strip() else []
        if self.option("show_tables") == "on":
            parts += tables(data)
        if not parts:
            raise Unavailable("ClarityQ completed the answer without any text", provider=self.label)
        return "\n\n".join(parts)

    def _answer_path(self, conversation: str) -> str:
        path = self.option("answer_path")
        if not path.startswith("/") or "{conversation_id}" not in path:
            raise self._misconfigured(
                "the option Path of the answer (answer_path) must begin with / and hold "
                "{conversation_id}"
            )
        path = path.replace("{product_id}", self._product_id)
        return path.replace("{conversation_id}", conversation)

    # --- rating -----------------------------------------------------------------------------------

    def rate(self, rating: Rating) -> Flow:
        """Replace rating and comment as a whole: a field left out would be erased there."""
        body = {"rating": RATINGS[rating.vote], "comment": comment(rating)}
        call = Call(
            method="PUT",
            path=f"{self._path(rating.answer_id)}/feedback",
            json=body,
            accept=(422,) if body == {"rating": None, "comment": None} else (),
            step="rate",
        )
        reply: Reply = yield call
        if reply.status != 422:
            return
        # "At least one of the two" may count a null as none; an empty comment is one. Inferred.
        emptied: Reply = yield Call(
            method="PUT",
            path=call.path,
            json={"rating": None, "comment": ""},
            accept=(422,),
            step="rate",
        )
        if emptied.status == 422:
            raise Unsupported("ClarityQ refuses to take feedback back: it still holds the last")

    # --- errors -----------------------------------------------------------------------------------

    def error(self, reply: Reply, retry_after_s: float | None) -> ProviderError:
        words = self.vendor_words(reply.data)
        where: dict[str, Any] = {"provider": self.label, "status": reply.status}
        match reply.status:
            case 401 | 403:  # which of the two means what is not documented
                return Misconfigured(
                    f"ClarityQ refuses the key, the product or the role of the key's maker "
                    f"(HTTP {reply.status}){words}",
                    **where,
                )
            case 409:
                return Unavailable(f"ClarityQ is not done with this answer yet{words}", **where)
            case 400 | 404 | 422:
                return Rejected(
                    f"ClarityQ refuses the request (HTTP {reply.status}){words}", **where
                )
        return super().error(reply, retry_after_s)

    def vendor_words(self, data: JSON) -> str:
        """Read `detail`: text, or a list of what is wrong where."""
        detail = fields(data).get("detail")
        if isinstance(detail, list):
            detail = "; ".join(map(wrong, objects(detail)))
        return super().vendor_words(detail)

    def _misconfigured(self, what: str) -> Misconfigured:
        return Misconfigured(what, provider=self.label)

    # --- addresses --------------------------------------------------------------------------------

    @property
    def _product_id(self) -> str:
        try:
            return str(UUID(self.option("product_id").strip()))
        except ValueError:
            raise self._misconfigured(
                "the option Product id (product_id) is not an id: copy it from ClarityQ, it looks "
                "like 123e4567-e89b-12d3-a456-426614174000"
            ) from None

    @property
    def _product(self) -> str:
        return f"/api/v1/products/{self._product_id}"

    def _path(self, conversation: str) -> str:
        try:
            return f"{self._product}/conversations/{UUID(conversation)}"
        except ValueError:  # another vendor's, whose agent this was
            raise Rejected("the answer's id is none of ClarityQ's", provider=self.label) from None


def comment(rating: Rating) -> str | None:
    """Return the chosen reasons and the visitor's words; in want of room the reasons give way."""
    room = COMMENT_LIMIT - len(rating.comment) - len("\n\n")
    reasons = ", ".join(rating.reasons)[: max(0, room)]
    return "\n\n".join(filter(None, [reasons, rating.comment]))[:COMMENT_LIMIT] or None


def wrong(one: dict[str, JSON]) -> str:
    """Return one of the things that ClarityQ finds wrong: what, and where if it says so."""
    loc = one.get("loc")
    places = loc if isinstance(loc, list) else [loc]
    where = ".".join(str(place) for place in places if place is not None)
    return f"{one.get('msg')}{f' at {where}' if where else ''}"


def tables(data: dict[str, JSON]) -> Iterator[str]:
    """Return the rows of SQL assets, each query's as a Markdown table; never the SQL itself."""
    for asset in objects(data.get("assets")):
        for result in objects(asset.get("data")):
            rows = objects(result.get("result_rows"))
            if asset.get("asset_type") == "SQL" and rows and not result.get("error"):
                yield table(result.get("title"), rows)
