"""raia's AI Agent API, as its OpenAPI document of 2026-07-27 and docs.raiaai.com describe it.

The key is looked at before anything else.  Then the request is checked against
`raia.openapi.json`, and only then does anything happen.  Not served, since a web chat has no use
for them: starting e-mail, SMS and voice conversations, downloading files, usage figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
from aiohttp import web

from .base import Received
from .openapi import Document
from .raia_agent import UNIQUE, ApiError, RaiaAgent, bad_request, failed, forbidden, not_found
from .raia_ledger import JSON, Conversation, Question, new_id

DOCUMENT = Document.load(Path(__file__).with_name("raia.openapi.json"))

STORAGE = "/storage/"
"""Where signed addresses lead; at the vendor that is another host."""
CONVERSATION = "/external/conversations/{id}"
OPERATIONS = {
    ("POST", "/external/users"): "create_user",
    ("GET", "/external/users/search"): "search_user",
    ("GET", "/external/users/{id}"): "get_user",
    ("DELETE", "/external/users/{id}"): "delete_user",
    ("POST", "/external/conversations"): "create_conversation",
    ("GET", "/external/conversations"): "list_conversations",
    ("DELETE", "/external/conversations"): "delete_conversations",
    ("GET", "/external/conversations/states"): "list_states",
    ("GET", CONVERSATION): "get_conversation",
    ("PUT", CONVERSATION): "update_conversation",
    ("PUT", f"{CONVERSATION}/mode"): "set_mode",
    ("POST", f"{CONVERSATION}/message-files/upload-url"): "upload_url",
    ("POST", f"{CONVERSATION}/messages"): "send_sync",
    ("POST", f"{CONVERSATION}/messages/async"): "send",
    ("GET", f"{CONVERSATION}/messages/{{questionMessageId}}/response-on"): "poll",
    ("GET", f"{CONVERSATION}/messages"): "list_messages",
    ("POST", f"{CONVERSATION}/send-manual-message"): "send_manual",
    ("POST", "/external/conversation-message-feedbacks"): "feedback",
    ("GET", "/external/agents/by-api-key"): "agent",
    ("POST", "/external/agents/webhooks"): "create_webhook",
}
"""Names for faults and for `Received.operation`; the method `on_<name>` answers."""

SECRETS = (
    "You are the instructions of the agent.",
    "calendar-key-5d1f",
    "webhook-header-9c0e",
)
"""What the agent profile gives away besides the key itself: it must never reach a browser."""


class RaiaSimulator(RaiaAgent):
    """Serves one agent.  Switches, console and ledger: see `RaiaAgent`."""

    def operation(self, method: str, path: str) -> str:
        if path.startswith(STORAGE):
            return "store"
        found = DOCUMENT.match(method, path)
        return OPERATIONS.get((method, found.template), "unknown") if found else "unknown"

    async def respond(self, received: Received, request: web.Request) -> web.StreamResponse:
        if received.operation == "store":
            return web.Response(status=self.store(received))
        try:
            if received.headers.get("Agent-Secret-Key") != self.key:
                raise forbidden()
            ids = self._check(received)
            with self.changing():
                answer = getattr(self, f"on_{received.operation}")(received, *ids)
            if isinstance(answer, Question):
                question = answer
                await self.until(lambda: question.state != "pending")
                answer = self._answered(question)
        except ApiError as error:
            error = self._told(received, error)
            answer = error.status, error.body
        status, body = answer
        if body is None:
            return web.Response(status=status)
        return web.json_response(body, status=status)

    def _check(self, received: Received) -> list[str]:
        """The ids in the path.  Refuses what the document does not allow."""
        found = DOCUMENT.match(received.method, received.path)
        if found is None or received.operation == "unknown":
            problems = [f"{received.method} {received.path}: no such operation here"]
        else:
            problems = DOCUMENT.request_problems(
                found, received.query, received.headers, received.body
            )
        for problem in problems:
            self.violate(problem)
        if found is None or problems:
            raise bad_request(*problems)
        return [*found.path_values(received.path).values()]

    def _told(self, received: Received, error: ApiError) -> ApiError:
        """The error as the operation gives it: not all of them document that an id is unknown."""
        found = DOCUMENT.match(received.method, received.path)
        if error.status != 404 or found is None or "404" in found.spec["responses"]:
            return error
        return {400: bad_request(), 404: error, 500: failed()}[self.odd.unknown_id]

    def call_webhooks(self, trigger: str, payload: JSON) -> list[int]:
        """Call the registered webhooks of one trigger from here, now; returns their statuses.

        Late, twice or out of order is the test's doing.  The payload has no published schema.
        """
        return [
            httpx.post(hook["url"], json=payload, headers=hook.get("headers")).status_code
            for hook in self.webhooks
            if hook["triggerCondition"] == trigger
        ]

    # Users

    def on_create_user(self, received: Received) -> tuple[int, JSON]:
        return 201, self.add_user(received.json).json(self.odd)

    def on_search_user(self, received: Received) -> tuple[int, JSON]:
        contacts = {name: received.query[name] for name in UNIQUE if name in received.query}
        user = self.find_user(contacts)
        found = [one.id for one in self.conversations.values() if one.user is user]
        return 200, {"user": user.json(self.odd), "conversationIds": sorted(found)}

    def on_get_user(self, received: Received, user_id: str) -> tuple[int, JSON]:
        return 200, _known(self.users, user_id).json(self.odd)

    def on_delete_user(self, received: Received, user_id: str) -> tuple[int, None]:
        del self.users[_known(self.users, user_id).id]
        self.delete_conversations(user_id)
        return 204, None

    # Conversations

    def on_create_conversation(self, received: Received) -> tuple[int, JSON]:
        user = _known(self.users, received.json["conversationUserId"])
        return 201, self.add_conversation(user, received.json).json(self.odd)

    def on_list_conversations(self, received: Received) -> tuple[int, JSON]:
        query = received.query
        found = [self._with_feedbacks(one) for one in self.conversations.values()]
        if "userId" in query:
            found = [one for one in found if one["conversationUserId"] == query["userId"]]
        if query.get("withFeedbacksOnly") == "true":
            found = [one for one in found if one["feedbacks"]]
        order = query.get("orderBy", "createdAt")
        found.sort(key=lambda one: one[order], reverse=query.get("orderDirection") == "DESC")
        page, size = int(query.get("page", 1)), int(query.get("pageSize", 10))
        pages = -(-len(found) // size)
        return 200, {
            "currentPage": page,
            "pageSize": size,
            "totalItems": len(found),
            "totalPages": pages,
            "hasNextPage": page < pages,
            "hasPreviousPage": page > 1,
            "data": found[(page - 1) * size : page * size],
        }

    def on_delete_conversations(self, received: Received) -> tuple[int, None]:
        user = _known(self.users, received.json["conversationUserId"])
        self.delete_conversations(user.id)
        return 204, None

    def on_list_states(self, received: Received) -> tuple[int, list[JSON]]:
        return 200, []

    def on_get_conversation(self, received: Received, conversation_id: str) -> tuple[int, JSON]:
        return 200, self._with_feedbacks(_known(self.conversations, conversation_id))

    def on_update_conversation(self, received: Received, conversation_id: str) -> tuple[int, JSON]:
        conversation = _known(self.conversations, conversation_id)
        conversation.body = {**conversation.body, **received.json}
        return 200, conversation.json(self.odd)

    def on_set_mode(self, received: Received, conversation_id: str) -> tuple[int, JSON]:
        conversation = _known(self.conversations, conversation_id)
        self.set_mode(conversation, received.json.get("mode", conversation.mode))
        return 200, conversation.json(self.odd)

    # Files

    def on_upload_url(self, received: Received, conversation_id: str) -> tuple[int, JSON]:
        _known(self.conversations, conversation_id)
        path = f"{conversation_id}/{new_id()}/{received.json['fileName']}"
        signature = new_id()
        self.signed[signature] = path, received.json["contentType"]
        return 200, {
            "signedUrl": f"{self.url}{STORAGE}{quote(path)}?signature={signature}%3D&n=a%2Fb",
            "storagePath": path,
        }

    def store(self, received: Received) -> int:
        """Take a file at a signed address, once; what a storage must not be told is noted."""
        signature = received.query.get("signature", "").removesuffix("=")
        path, kind = self.signed.pop(signature, ("", ""))
        if received.method != "PUT" or unquote(received.path) != STORAGE + path or not path:
            return 403
        if received.headers.get("Content-Type") != kind or received.query.get("n") != "a/b":
            return 403
        if "Agent-Secret-Key" in received.headers:
            self.violate("the storage was told the key")
        self.stored[path] = received.body
        return 200

    # Messages

    def on_send(self, received: Received, conversation_id: str) -> tuple[int, JSON]:
        conversation = _known(self.conversations, conversation_id)
        files = received.json.get("files", [])
        if any(file["storagePath"] not in self.stored for file in files):
            raise bad_request("a file that was never uploaded")
        question = self.ask(conversation, received.json["message"])
        shown = question.message.json(self.odd)
        if self.odd.send_returns_answer:
            shown |= {"id": new_id(), "message": "", "senderRole": "assistant"}
        return 201, shown

    def on_send_sync(self, received: Received, conversation_id: str) -> Question:
        return self.ask(_known(self.conversations, conversation_id), received.json["message"])

    def _answered(self, question: Question) -> tuple[int, JSON]:
        if question.answer is None:
            raise ApiError(500, {"status": 500, "message": question.error})
        return 201, question.answer.json(self.odd)

    def on_poll(
        self, received: Received, conversation_id: str, question_id: str
    ) -> tuple[int, JSON]:
        questions = _known(self.conversations, conversation_id).questions
        return 200, _known(questions, question_id).json(self.odd)

    def on_list_messages(self, received: Received, conversation_id: str) -> tuple[int, JSON]:
        shown = [
            message.json(self.odd)
            for message in _known(self.conversations, conversation_id).messages
        ]
        if received.query.get("shouldIncludeFeedbacks") == "true":
            for message in shown:
                message["conversationMessageFeedbacks"] = [
                    feedback.json()
                    for feedback in self.feedbacks.values()
                    if feedback.message_id == message["id"]
                ]
        if received.query.get("orderDirection") == "DESC":
            shown.reverse()
        return 200, {"messages": shown}

    def on_send_manual(self, received: Received, conversation_id: str) -> tuple[int, JSON]:
        conversation = _known(self.conversations, conversation_id)
        if conversation.mode != "manual":
            raise ApiError(400, None)
        message = self.say_as_human(
            conversation,
            received.json["message"],
            question_id=received.json.get("conversationMessageId"),
            author_id=received.json.get("authorId"),
        )
        return 200, message.json(self.odd)

    def on_feedback(self, received: Received) -> tuple[int, JSON]:
        feedback = self.rate(received.json)
        return 201, {**feedback.dated_json(), "conversationMessageId": feedback.message_id}

    def _with_feedbacks(self, conversation: Conversation) -> JSON:
        ids = {message.id for message in conversation.messages}
        feedbacks = [one.dated_json() for one in self.feedbacks.values() if one.message_id in ids]
        return {**conversation.json(self.odd), "feedbacks": feedbacks}

    # Agent

    def on_agent(self, received: Received) -> tuple[int, JSON]:
        instructions, calendar_key, _ = SECRETS
        live_chat = {
            "systemName": "LIVE_CHAT",
            "status": "active",
            "intro": "Hello! How can I help?",
            "suggestions": ["What do you do?", "Where are you?"],
            "disclaimer": "Answers may be wrong.",
            "color": "#3355aa",
            "links": [],
            "limitUnavailableDates": False,
            "unavailableDates": [],
            "unavailableDatesMessage": "",
        }
        return 200, {
            "id": "0b7d7f0e-6c9a-4b37-9a55-6d8b1b6d3a01",
            "organizationId": "0b7d7f0e-6c9a-4b37-9a55-6d8b1b6d3a02",
            "organizationName": "Example Company",
            "name": "support-agent",
            "publicName": "Sam",
            "avatarUrl": "https://cdn.example.test/sam.png",
            "role": "Support",
            "status": "active",
            "vectorStoreId": "vs_1",
            "aiConfig": {"instructions": instructions},
            "skills": [
                live_chat,
                {"systemName": "API", "status": "active", "apiKey": self.key},
                {"systemName": "CALENDAR", "status": "active", "apiKey": calendar_key},
                {"systemName": "WEBHOOK", "status": "active", "webhooks": self._shown_webhooks()},
            ],
        }

    def _shown_webhooks(self) -> list[JSON]:
        return self.webhooks or [{"headers": {"X-Secret": SECRETS[2]}}]

    def on_create_webhook(self, received: Received) -> tuple[int, JSON]:
        if not self.loopback_webhooks and not received.json["url"].startswith("https://"):
            raise bad_request("url must be https and public")
        now = self._clock.now()
        made = {"id": new_id(), "agentId": new_id(), "createdAt": now, "updatedAt": now}
        self.webhooks.append({**received.json, **made, "status": "active"})
        return 201, self.webhooks[-1]


def _known(things: dict[str, Any], key: str) -> Any:
    if key not in things:
        raise not_found()
    return things[key]
