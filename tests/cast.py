"""The cast of the tests: an agent, a widget, a visitor, a conversation, a vote, an operator."""

import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.utils import timezone

from chatwidget import claims
from chatwidget.claims import Claimed
from chatwidget.management.commands.rotate_credential_keys import sealed_fields
from chatwidget.models import Agent, Conversation, Message, Role, Status, Visitor, Widget
from feedback.models import Delivery, Feedback, State

if TYPE_CHECKING:
    from .providers.cases import Case
    from .simulators.openai import OpenAISimulator

Vendor = TypeVar("Vendor", bound="Case")


def make_agent(
    name: str = "Demo agent",
    provider: str = "demo",
    *,
    credentials: dict[str, str] | None = None,
    **fields: Any,
) -> Agent:
    agent = Agent(name=name, provider=provider, **fields)
    agent.credentials = credentials or {}
    agent.save()
    return agent


def openai_agent(openai: "OpenAISimulator", **options: object) -> Agent:
    """Make an agent at the simulator."""
    return make_agent(
        "Model",
        "openai",
        base_url=openai.base_url,
        credentials={"api_key": openai.key},
        options={"model": openai.model} | options,
    )


def make_widget(agent: Agent | None = None, **fields: Any) -> Widget:
    # No answer begins with it: who waits for one is not to find it there already.
    usual = {"name": "Site", "greeting": "Welcome."}
    return Widget.objects.create(agent=agent or make_agent(), **usual | fields)


def make_visitor(widget: Widget | None = None, **fields: Any) -> Visitor:
    return Visitor.objects.create(widget=widget or make_widget(), **fields)


def make_conversation(
    messages: Iterable[tuple[str, str]] = (),
    *,
    widget: Widget | None = None,
    visitor: Visitor | None = None,
    **fields: Any,
) -> Conversation:
    """Make a conversation of `(role, text)`; an agent's text answers the question before it."""
    visitor = visitor or make_visitor(widget)
    conversation = Conversation.objects.create(
        visitor=visitor, agent=visitor.widget.agent, **fields
    )
    question = None
    for role, text in messages:
        message = add_message(conversation, text, role=role, question=question)
        question = message if role == Role.VISITOR else question
    return conversation


def add_message(
    conversation: Conversation, text: str = "Hello", *, role: str = Role.VISITOR, **fields: Any
) -> Message:
    """Add a completed message at the end; `question` is taken for answers only."""
    if role != Role.AGENT:
        fields.pop("question", None)
    conversation.last_position += 1
    conversation.save(update_fields=["last_position"])
    fields = {"status": Status.COMPLETED} | fields
    return Message.objects.create(
        conversation=conversation,
        position=conversation.last_position,
        role=role,
        text=text,
        **fields,
    )


def make_feedback(
    message: Message | None = None,
    vote: str | None = "down",
    *,
    delivery: str | None = State.DELIVERED,
    problem: str = "",
    **fields: Any,
) -> Feedback:
    """Make a vote on `message`, or on the answer of a new conversation, and its delivery."""
    if message is None:
        conversation = make_conversation([("visitor", "Are you open?"), ("agent", "Yes.")])
        message = conversation.messages.get(role=Role.AGENT)
    feedback = Feedback(message=message, vote=vote, **{"revision": 1} | fields)
    if "review" not in fields:
        feedback.reopen()
    feedback.save()
    if delivery:
        Delivery.objects.create(
            feedback=feedback,
            agent=message.conversation.agent,
            state=delivery,
            problem=problem,
            revision=feedback.revision,
        )
    return feedback


def make_operator(username: str = "operator", **fields: Any) -> User:
    return User.objects.create_user(username, **{"is_staff": True, "is_superuser": True} | fields)


def claimed_turn(conversation: Conversation) -> Claimed:
    """Give the conversation's question an answer, claimed for a day by no process that runs."""
    answer = add_message(
        conversation,
        "",
        role=Role.AGENT,
        status=Status.PENDING,
        question=conversation.messages.get(),
        lease_token=(token := uuid.uuid4()),
        lease_until=timezone.now() + timedelta(days=1),
    )
    claimed = claims.load(answer.pk, token)
    assert claimed is not None
    return claimed


@contextmanager
def under_test(case: Vendor) -> Iterator[Vendor]:
    """Run a vendor for one test; a request that its document does not allow fails the test."""
    try:
        yield case
    finally:
        forget_agents(case.simulator.url)
        case.release()
        case.simulator.stop()
    assert case.simulator.violations == []


def forget_agents(url: str) -> None:
    """Delete the agents at a simulator's address, and so all that would still be asked of them.

    The simulator's port may be another one's by then.
    """
    while True:
        try:
            with transaction.atomic():
                return _forget_agents(url)
        except OperationalError as error:  # the service's writers commit in groups, as they come
            if "deadlock" not in str(error):
                raise


def _forget_agents(url: str) -> None:
    agents = Agent.objects.filter(base_url__regex=rf"^{re.escape(url)}(/|$)")
    # Locked in the order that everybody locks them in: their turns may not be over.
    widgets = Widget.objects.filter(agent__in=agents)
    conversations = Conversation.objects.filter(agent__in=agents)
    for rows in (Visitor.objects.filter(widget__in=widgets), conversations):
        list(rows.select_for_update().order_by("pk").values_list("pk"))
    conversations.delete()
    widgets.delete()
    agents.delete()


def forget_secrets() -> None:
    """Empty every sealed column: other tests have sealed theirs with keys of their own."""
    for model, name in sealed_fields():
        model._default_manager.exclude(**{name: ""}).update(**{name: ""})
