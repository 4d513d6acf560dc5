"""raia AI Agent API: asked asynchronously, polled, with people who can step in.

Source: the vendor's published OpenAPI document (July 2026) and docs.raiaai.com; docs/providers/
raia.md tells which facts are inferred. `Agent-Secret-Key` on every call; a bad key gives 403.

A turn: the visitor becomes a *user* (by `fkId`, our visitor id), the user gets a *conversation*,
the question is sent asynchronously, and `response-on` is polled until it is `completed` or
`failed`. There is no streaming and no idempotency key: a send whose fate is unknown is looked up
in the message list, never repeated.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import count
from urllib.parse import quote

from ..errors import (
    Broken,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
    Unsupported,
)
from ..events import Citation, Cited, Ended, Finish, HumanHas, HumanSaid, Learned, Sending, Text
from .base import (
    DEADLINES,
    JSON,
    POLL,
    Ask,
    Call,
    Field,
    Flow,
    Held,
    Known,
    Pause,
    Provider,
    Rating,
    Reply,
    Steps,
    Upload,
)
from .lenient import fields, objects, string, web_address

# The newest document says pending, completed, failed; an older release note the other two.
COMPLETED, FAILED = {"completed"}, {"failed", "error"}
# Left-overs of the vendor's retrieval, such as 【2:file:6†L1-L8】.
MARKER = re.compile(r"\s?【[^【】\n]{0,200}†[^【】\n]{0,200}】")
# The mode is read again after this many polls without an answer.
POLLS_PER_MODE_CHECK = 3


class Raia(Provider):
    """One agent, named by its key."""

    label = "raia"
    default_base_url = "https://api.raia2.com"
    credential_fields = (
        Field(
            name="secret_key",
            label="Agent secret key",
            required=True,
            help="In raia: the agent's skills, API.",
        ),
    )
    option_fields = (
        Field(
            name="feedback_message",
            label="A vote names",
            kind="choice",
            choices=("answer", "question"),
            default="answer",
            help="Which message's id a vote carries. Not documented by raia; `answer` is inferred.",
        ),
        POLL,
        *(
            field
            if field.name != "total_s"
            else Field(name="total_s", label=field.label, kind="number", default=120.0)
            for field in DEADLINES
        ),
    )
    takes_votes = True
    clears_votes = False  # `voteType` is required and knows up and down only
    takes_comments = True
    tells_votes = True
    has_humans = True
    takes_attachments = True
    resumes = True
    erases = True

    def headers(self) -> dict[str, str]:
        return {"Agent-Secret-Key": self.setup.credentials.get("secret_key", "")}

    # --- a turn -----------------------------------------------------------------------------------

    def answer(self, ask: Ask) -> Flow:
        """User, conversation, send, poll."""
        known = ask.known.conversation.get("conversation", "")
        conversation = known or (yield from self._conversation(ask))
        question = ask.known.answer.get("question")
        if not question:
            try:
                question = yield from self._question(ask, conversation)
            except Rejected as refused:
                if refused.status != 404 or not known:
                    raise
                # Deleted at raia, so nothing was stored there: go on in a new conversation.
                conversation = yield from self._conversation(ask)
                question = yield from self._question(ask, conversation)
        if ask.human and (yield from self._is_manual(conversation)):
            yield Ended(Finish.HUMAN)
            return
        if ask.human:
            yield HumanHas(False)
        message = yield from self._poll(ask, conversation, question)
        if message is None:
            yield HumanHas(True)
            yield Ended(Finish.HUMAN)
            return
        yield Learned(answer_id=self._id(message))
        yield Text(clean(message.get("message")))
        yield Cited(tuple(self._citations(message)))
        yield Ended(Finish.COMPLETE)

    def _user(self, ask: Ask) -> Steps:
        """Find or make the user. Two first messages can race: 400 means that one exists."""
        create = Call(
            method="POST",
            path="/external/users",
            json={"fkId": ask.visitor, "firstName": "Website", "lastName": "Visitor"},
            accept=(400,),
            step="authenticate",
        )
        search = Call(
            method="GET",
            path="/external/users/search",
            query={"fkId": ask.visitor},
            accept=(404,),
            step="authenticate",
        )
        found: Reply = yield search
        if found.status == 404:
            made: Reply = yield create
            if made.status == 400:
                found = yield search
                if found.status == 404:
                    raise Rejected(f"{self.label} refuses to make a user", provider=self.label)
            else:
                found = made
        data = found.data.get("user", found.data) if isinstance(found.data, dict) else None
        user = self._id(data)
        yield Learned(visitor={"user": user})
        return user

    def _conversation(self, ask: Ask) -> Steps:
        def create(user: str) -> Call:
            return Call(
                method="POST",
                path="/external/conversations",
                json={"conversationUserId": user, "title": (ask.title or "Website chat")[:255]},
                step="start",
            )

        user = ask.known.visitor.get("user") or (yield from self._user(ask))
        try:
            sent = self.send(create(user))
            made: Reply = yield from self._at(self._user_path(user), sent)
        except Rejected as refused:
            if refused.status != 404:
                raise
            made = yield create((yield from self._user(ask)))  # the user was deleted at raia
        conversation = self._id(made.data)
        yield Learned(conversation={"conversation": conversation})
        return conversation

    def _question(self, ask: Ask, conversation: str) -> Steps:
        """Send the question once; if that may have happened already, look for it instead."""
        if ask.sent_before:
            question = yield from self._look_up(ask, conversation)
            if not question:
                raise Unavailable(
                    "it is not known whether the question reached raia", provider=self.label
                )
        else:
            body: dict[str, JSON] = {"message": ask.text}
            if ask.attachments:
                body["files"] = yield from self._files(ask, conversation)
            yield Sending()
            try:
                path = self._path(conversation)
                send = Call(method="POST", path=f"{path}/messages/async", json=body)
                sent: Reply = yield from self._at(path, self.send(send))
                question = self._question_id(sent.data)
            except RateLimited:
                raise  # refused before it was read
            except (Unavailable, TimedOut, Broken) as lost:
                question = yield from self._look_up(ask, conversation, after=lost)
                if not question:
                    raise
        yield Learned(answer={"question": question})
        return question

    def _files(self, ask: Ask, conversation: str) -> Steps:
        """Bring the question's files to raia's storage. Returns how the question names them."""
        files = []
        for file in ask.attachments:
            here = self._path(conversation)
            place = Call(
                method="POST",
                path=f"{here}/message-files/upload-url",
                json={"fileName": file.name, "contentType": file.content_type},
            )
            reply: Reply = yield from self._at(here, self._read(place))
            found = fields(reply.data)
            url, path = found.get("signedUrl"), found.get("storagePath")
            if not (isinstance(url, str) and url and isinstance(path, str) and path):
                raise self.broken("no address to upload a file to")
            yield Upload(url, file)
            files.append({"fileName": file.name, "storagePath": path})
        return files

    def _question_id(self, message: JSON) -> str:
        """The id to poll by: documented vaguely, so both readings are served."""
        own = self._id(message)
        if message.get("senderRole") == "conversation_user":
            return own
        return str(message.get("conversationMessageId") or own)

    def _look_up(self, ask: Ask, conversation: str, *, after: ProviderError | None = None) -> Steps:
        """Return the id of the newest message of ours with this text, or "" if there is none."""
        for wait in (0.0, 1.0):
            yield Pause(wait)
            try:
                reply = yield from self._read(self._list(conversation, order="DESC"))
            except ProviderError as failed:
                raise after or failed from None  # what brought us here is the one to tell
            for message in self._listed(reply):
                if (
                    message.get("senderRole") == "conversation_user"
                    and str(message.get("message")).strip() == ask.text.strip()
                    and message.get("id") not in ask.other_questions
                ):
                    return self._id(message)
        return ""

    def _poll(self, ask: Ask, conversation: str, question: str) -> Steps:
        """Return the answer, or None when a person has taken the conversation."""
        path = f"{self._path(conversation)}/messages/{quote(question, safe='')}"
        for polls in count(1):
            yield Pause(ask.pace.next())
            look = Call(method="GET", path=f"{path}/response-on", step="receive")
            reply = yield from self._read(look)
            data = fields(reply.data)
            status = data.get("status")
            if status in COMPLETED and isinstance(data.get("message"), dict):
                return data["message"]
            if status in FAILED:
                raise Unavailable(
                    f"raia says that the answer failed{self.vendor_words(data)}",
                    provider=self.label,
                    status=reply.status,
                )
            if polls % POLLS_PER_MODE_CHECK == 0 and (yield from self._is_manual(conversation)):
                return None
        raise AssertionError("the looks do not end")

    def _read(self, call: Call) -> Steps:
        return (yield from self.read(call, self.number("poll_s") or 1.0))

    # --- people -----------------------------------------------------------------------------------

    def follow(self, ask: Ask) -> Flow:
        """Read the mode, and every human message there is; the caller knows which are new."""
        conversation = ask.known.conversation.get("conversation")
        if not conversation:
            return
        manual = yield from self._is_manual(conversation)
        for message in self._listed((yield self._list(conversation))):
            text = said_in(message)
            if message.get("senderRole") == "manual_assistant" and text:
                yield HumanSaid(id=self._id(message), text=text)
        yield HumanHas(manual)

    def _is_manual(self, conversation: str) -> Steps:
        look = Call(method="GET", path=self._path(conversation), step="receive")
        reply = yield from self._read(look)
        return fields(reply.data).get("mode") == "manual"

    def _list(self, conversation: str, *, order: str = "ASC", feedbacks: bool = False) -> Call:
        return Call(
            method="GET",
            path=f"{self._path(conversation)}/messages",
            query={"orderDirection": order, "shouldIncludeFeedbacks": str(feedbacks).lower()},
        )

    def _listed(self, reply: Reply) -> list[dict[str, JSON]]:
        messages = fields(reply.data).get("messages")
        if not isinstance(messages, list):
            raise self.broken("a message list without messages")
        return objects(messages)

    # --- rating -----------------------------------------------------------------------------------

    def rate(self, rating: Rating) -> Flow:
        """Create or update the vote of this user on this answer; always the whole of it."""
        if rating.vote is None:
            raise Unsupported("raia cannot take back a vote")
        names_question = self.option("feedback_message") == "question"
        message = rating.known.answer.get("question", "") if names_question else ""
        yield Call(
            method="POST",
            path="/external/conversation-message-feedbacks",
            step="rate",
            json={
                "conversationMessageId": message or rating.answer_id,
                "userId": rating.known.visitor.get("user", ""),
                "voteType": rating.vote,
                "question": rating.question,
                "answer": rating.answer,
                "comment": said(rating),
            },
        )

    @classmethod
    def kept(cls, rating: Rating) -> Held | None:
        return Held(vote=rating.vote, comment=said(rating)) if rating.vote else None

    def held(self, known: Known) -> Steps:
        """Read them beside the messages. Whose a rating is, is not told: all are returned."""
        conversation = known.conversation.get("conversation", "")
        try:
            look = self._read(self._list(conversation, feedbacks=True))
            reply: Reply = yield from self._at(self._path(conversation), look)
        except Rejected as refused:
            if refused.status != 404:
                raise
            return {}
        messages = {self._id(one): one for one in self._listed(reply)}
        found = {}
        for answer, message in messages.items():
            rated = message
            if self.option("feedback_message") == "question":
                rated = messages.get(str(message.get("conversationMessageId")), {})
            ratings = objects(rated.get("conversationMessageFeedbacks"))
            found[answer] = [
                Held(vote=rating["voteType"], comment=str(rating.get("comment") or ""))
                for rating in ratings
                if rating.get("voteType") in ("up", "down")  # others are no votes of ours
            ]
        return found

    # --- erasing ----------------------------------------------------------------------------------

    def forget(self, ids: Mapping[str, str]) -> Flow:
        """Delete all of the user's conversations, then the user. What is gone already is fine."""
        user = ids.get("user")
        if not user:
            return
        path = self._user_path(user)
        conversations = Call(
            method="DELETE", path="/external/conversations", json={"conversationUserId": user}
        )
        try:
            yield from self._at(path, self.send(conversations))
        except Rejected as refused:
            if refused.status != 404:
                raise
        yield Call(method="DELETE", path=path, accept=(404,))

    # --- what is gone -----------------------------------------------------------------------------

    def _at(self, path: str, steps: Steps) -> Steps:
        """Do what needs the conversation or user at `path`; Rejected with 404 says it is gone.

        Few operations document what they answer then, and it may be 400 or 5xx as well. The read
        of the thing itself does, so that is asked before either is believed.
        """
        try:
            return (yield from steps)
        except ProviderError as failed:
            if failed.status is None or (failed.status != 400 and failed.status < 500):
                raise
            if not (yield from self._is_gone(path)):
                raise
            raise Rejected(
                f"{self.label} no longer has what was asked for", provider=self.label, status=404
            ) from failed

    def _is_gone(self, path: str) -> Steps:
        try:
            found: Reply = yield Call(method="GET", path=path, accept=(404,))
        except ProviderError:
            return False  # as far as is known; what failed first is the one to tell
        return found.status == 404

    # --- content ----------------------------------------------------------------------------------

    def _user_path(self, user: str) -> str:
        return f"/external/users/{quote(user, safe='')}"

    def _path(self, conversation: str) -> str:
        return f"/external/conversations/{quote(conversation, safe='')}"

    def _id(self, value: JSON) -> str:
        if not isinstance(value, dict) or not isinstance(value.get("id"), str) or not value["id"]:
            raise self.broken("an object without an id")
        return str(value["id"])

    def _citations(self, message: Mapping[str, JSON]) -> Iterator[Citation]:
        full = fields(message.get("fullAIResponse"))
        for one in objects(full.get("urlCitations")):
            if url := web_address(one.get("url")):
                yield Citation(title=string(one.get("title")) or url, url=url)
        for one in objects(full.get("fileCitations")):  # files have no address
            if name := string(one.get("filename")):
                yield Citation(title=name)


def said(rating: Rating) -> str:
    """Return the comment that goes with a vote: the reasons, and below them the visitor's words."""
    return "\n\n".join(filter(None, [", ".join(rating.reasons), rating.comment]))


def said_in(message: Mapping[str, JSON]) -> str:
    """Return a person's text, or the names of the files that came in place of any."""
    text = clean(message.get("message"))
    if text.strip():
        return text
    names = [string(file.get("fileName")) for file in objects(message.get("files"))]
    return f"📎 {', '.join(filter(None, names))}" if any(names) else ""


def clean(text: JSON) -> str:
    """Return a message's text without left-over markers."""
    return MARKER.sub("", string(text))
