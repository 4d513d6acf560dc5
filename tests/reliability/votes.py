"""Many votes that wait to be delivered, on answers that their vendor knows."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from chatwidget.models import Agent, Conversation, Message, Role, Visitor, Widget
from feedback.models import Delivery, Feedback

from ..simulators.raia import RaiaSimulator

IN_ONE_CONVERSATION = 20


def raia_agent(raia: RaiaSimulator, using: str, name: str = "At raia") -> Agent:
    """Make an agent at the simulator, with a widget."""
    agent = Agent(name=name, provider="raia", base_url=raia.url)
    agent.credentials = {"secret_key": raia.key}
    agent.save(using=using)
    Widget.objects.using(using).create(name=name, agent=agent)
    return agent


def waiting_at_raia(
    raia: RaiaSimulator, agent: Agent, count: int, *, using: str, age_s: float = 60
) -> list[Feedback]:
    """Make votes, up and down by turns, that have been due for `age_s`."""
    made: list[Feedback] = []
    raia.ripening = 0
    with transaction.atomic(using=using):
        while len(made) < count:
            size = min(IN_ONE_CONVERSATION, count - len(made))
            made += _conversation(raia, agent, size, using)
        at = timezone.now() - timedelta(seconds=age_s)
        Feedback.objects.using(using).bulk_create(made)
        Delivery.objects.using(using).bulk_create(
            Delivery(feedback=one, agent=agent, revision=1, next_at=at) for one in made
        )
    return made


def _conversation(raia: RaiaSimulator, agent: Agent, size: int, using: str) -> list[Feedback]:
    """One visitor's, here and there, with as many answers that are voted on."""
    widget = agent.widgets.get()
    with raia.changing():
        user = raia.add_user({"firstName": "Website"})
        there = raia.add_conversation(user, {})
        asked = [raia.ask(there, f"Question {number}") for number in range(size)]
    visitor = Visitor(widget=widget, upstream={str(agent.pk): {"user": user.id}})
    visitor.save(using=using)
    here = Conversation(visitor=visitor, agent=agent, upstream={"conversation": there.id})
    here.last_position = 2 * size
    here.save(using=using)
    now = timezone.now()
    questions, answers = [], []
    for number, one in enumerate(asked):
        assert one.answer is not None, "it ripens at once"
        common = {"conversation": here, "completed_at": now}
        questions.append(
            Message(role=Role.VISITOR, text=one.message.text, position=2 * number + 1, **common)
        )
        answers.append(
            Message(
                role=Role.AGENT,
                text=one.answer.text,
                position=2 * number + 2,
                question=questions[-1],
                upstream={"question": one.message.id},
                upstream_id=one.answer.id,
                **common,
            )
        )
    Message.objects.using(using).bulk_create(questions)
    Message.objects.using(using).bulk_create(answers)
    return [
        Feedback(
            message=answer,
            vote="down" if number % 2 else "up",
            revision=1,
            agent=agent,
            widget=widget,
        )
        for number, answer in enumerate(answers)
    ]
