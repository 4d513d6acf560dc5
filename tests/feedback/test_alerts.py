"""Telling operators: a real mail server and a real receiver hear what they should, once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from chatwidget.models import Agent, Widget
from chatwidget.models import Visitor as Person
from feedback import alerts
from feedback.models import Alert, AlertSettings, Feedback, Notice

from ..cast import make_widget
from ..server import Server, worker
from ..simulators.faults import Stall, Status
from ..simulators.raia import RaiaSimulator
from ..visitor import JSON, Visitor
from ..waiting import eventually
from .conftest import delivery_of, raia_agent, settled
from .receivers import SECRET, MailServer, Receiver

NEVER = "3600"


@contextmanager
def telling(mail: MailServer, **env: str) -> Iterator[None]:
    """A worker that tells at once, unless `env` says otherwise."""
    usual = {"ALERT_EVERY_S": "0", "ALERT_RETRY_S": "0.2", "ALERT_LATE_S": NEVER}
    with worker(None, **usual | {"EMAIL_URL": mail.url} | env):
        yield


@pytest.fixture
def widget(raia: RaiaSimulator) -> Iterator[Widget]:
    raia.ripening = 0
    widget = make_widget(raia_agent(raia), name="Shop")
    yield widget
    AlertSettings.objects.filter(widget=widget).delete()


def tell_of(widget: Widget, receiver: Receiver, **fields: Any) -> AlertSettings:
    """Have everything told of a widget, on both channels."""
    usual = {"emails": ["ines@shop.example"], "webhook_url": f"{receiver.url}/hook"}
    one = AlertSettings(widget=widget, **usual | fields)
    one.secret = SECRET
    one.save()
    return one


def over(one: AlertSettings) -> bool:
    """Whether nothing is left to be told."""
    open_notices = one.notices.filter(next_at__isnull=False)
    return not open_notices.exists() and not one.alerts.filter(notice=None).exists()


async def complain(visitor: Visitor, comment: str, vote: str = "down") -> JSON:
    answer = await visitor.ask_and_wait("When do you open?")
    await visitor.vote(answer, vote=vote, comment=comment)
    return answer


# --- what is told ---------------------------------------------------------------------------------


async def test_a_thumbs_down_with_a_comment_is_told_on_both_channels(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver, emails=["ines@shop.example", "tom@shop.example"])
    async with Visitor(web.url, widget.key) as visitor:
        with telling(mail, PUBLIC_URL="https://chat.example"):
            answer = await complain(visitor, "You are closed!")
            await receiver.eventually(lambda: receiver.told)
            await eventually(lambda: over(one))
    (told,) = receiver.told
    feedback = Feedback.objects.get(message=answer["id"])
    assert told["type"] == "feedback.commented"
    assert told["data"]["widget"] == {"key": widget.key, "name": "Shop"}
    assert told["data"]["more"] == 0
    (item,) = told["data"]["items"]
    assert (item["comment"], item["question"]) == ("You are closed!", "When do you open?")
    assert item["answer"] == answer["text"]
    link = f"https://chat.example/admin/feedback/feedback/{feedback.pk}/change/"
    assert item["url"] == link
    received = receiver.calls("hook")[0]
    assert Webhook(SECRET).verify(received.body, dict(received.headers)) == told
    (letter,) = mail.letters
    assert mail.to == [["ines@shop.example", "tom@shop.example"]]
    assert letter["Subject"] == "Shop: a thumbs down with a comment"
    assert "> You are closed!" in letter.get_content()
    assert link in letter.get_content()


@pytest.mark.parametrize(("vote", "comment"), [("up", "Slow, but fine"), ("down", "")])
async def test_other_votes_are_not_told(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer, vote: str, comment: str
) -> None:
    one = tell_of(widget, receiver)
    async with Visitor(web.url, widget.key) as visitor:
        await complain(visitor, comment, vote)
    assert not one.alerts.exists()


async def test_a_vote_that_cannot_be_delivered_is_told(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer, raia: RaiaSimulator
) -> None:
    one = tell_of(widget, receiver)
    raia.fail_always("feedback", Status(404))
    async with Visitor(web.url, widget.key) as visitor:
        with telling(mail):
            answer = await complain(visitor, "", "up")
            await receiver.eventually(lambda: receiver.told)
            await eventually(lambda: over(one))
    (told,) = receiver.told
    assert told["type"] == "feedback.failed"
    assert told["data"]["items"][0]["problem"] == delivery_of(answer).problem != ""
    assert "The vendor does not take a vote:" in mail.letters[0].get_content()


async def test_an_agent_that_refuses_us_is_told_once_for_each_problem(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver)
    agent = Agent.objects.filter(pk=widget.agent_id)

    def trouble(problem: str) -> None:
        agent.update(problem=problem, problem_at=timezone.now() if problem else None)

    with telling(mail):
        trouble("raia refuses the key (HTTP 401)")
        await receiver.eventually(lambda: len(receiver.told) == 1)
        await eventually(lambda: over(one))
        trouble("")
        await eventually(lambda: AlertSettings.objects.get(pk=one.pk).refusal_told is None)
        trouble("raia refuses the new key, too")
        await receiver.eventually(lambda: len(receiver.told) == 2)
        await eventually(lambda: over(one) and len(mail.letters) == 2)
    assert [told["type"] for told in receiver.told] == ["agent.refused"] * 2
    assert [told["data"]["items"][0]["problem"] for told in receiver.told] == [
        "raia refuses the key (HTTP 401)",
        "raia refuses the new key, too",
    ]


async def test_late_votes_are_told_once_until_none_is_late(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer, raia: RaiaSimulator
) -> None:
    one = tell_of(widget, receiver)
    raia.fail_always("feedback", Status(503))
    async with Visitor(web.url, widget.key) as visitor:
        with telling(mail, ALERT_LATE_S="0.5"):
            first = await complain(visitor, "", "up")
            await receiver.eventually(lambda: len(receiver.told) == 1)
            second = await complain(visitor, "", "up")
            raia.heal()
            await settled(visitor, first)
            await settled(visitor, second)
            await eventually(lambda: AlertSettings.objects.get(pk=one.pk).late_told is None)
            assert len(receiver.told) == 1
            raia.fail_always("feedback", Status(503))
            await complain(visitor, "", "up")
            await receiver.eventually(lambda: len(receiver.told) == 2)
            raia.heal()
            await eventually(lambda: over(one))
    assert [told["type"] for told in receiver.told] == ["feedback.late"] * 2
    assert receiver.told[0]["data"]["items"][0]["waiting"] >= 1


async def test_many_at_once_are_told_together_with_how_many_more(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver)
    async with Visitor(web.url, widget.key) as visitor:
        for number in range(14):
            await complain(visitor, f"Complaint {number}")
        with telling(mail):
            await receiver.eventually(lambda: receiver.told)
            await eventually(lambda: over(one))
    (told,) = receiver.told
    assert len(told["data"]["items"]) == 5
    assert told["data"]["more"] == 9
    (letter,) = mail.letters
    assert letter["Subject"] == "Shop: 14 thumbs down with comments"
    assert "And 9 more." in letter.get_content()
    assert "Complaint 13" in letter.get_content()  # the newest in full


async def test_what_comes_soon_after_a_message_waits_for_the_next(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver)
    async with Visitor(web.url, widget.key) as visitor:
        with telling(mail, ALERT_EVERY_S=NEVER):
            await complain(visitor, "First")
            await receiver.eventually(lambda: len(receiver.told) == 1)
            await complain(visitor, "Second")
            await complain(visitor, "Third")
            await eventually(lambda: len(mail.letters) == 1)
            hour_ago = timezone.now() - timedelta(hours=2)
            assert one.alerts.filter(notice=None, channel="webhook").count() == 2
            one.notices.update(created_at=hour_ago)
            await receiver.eventually(lambda: len(receiver.told) == 2)
            await eventually(lambda: over(one))
    said = [[item["comment"] for item in told["data"]["items"]] for told in receiver.told]
    assert said == [["First"], ["Third", "Second"]]


async def test_what_is_switched_off_is_not_told(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver, on_comment=False)
    async with Visitor(web.url, widget.key) as visitor:
        await complain(visitor, "Nobody wants to know")
    assert not one.alerts.exists()


async def test_what_is_taken_back_or_erased_meanwhile_is_not_told(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver)
    async with Visitor(web.url, widget.key) as visitor:
        answer = await complain(visitor, "canary-said-in-anger")
        await visitor.vote(answer, vote="up", comment="")
        async with Visitor(web.url, widget.key) as other:
            await complain(other, "canary-to-be-forgotten")
            await other.call("DELETE", "/visitor", expect=204)
        with telling(mail):
            await eventually(lambda: bool(one.notices.count()) and over(one))
    assert receiver.told == []
    assert mail.letters == []
    assert Person.objects.filter(widget=widget).count() == 1


# --- that it gets through, once -------------------------------------------------------------------


async def test_it_is_tried_again_until_it_got_through_with_one_id(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver)
    receiver.fail_next("hook", Status(500), Status(302, {"Location": "/elsewhere"}))
    mail.busy = 2
    async with Visitor(web.url, widget.key) as visitor:
        with telling(mail):
            await complain(visitor, "Still closed")
            await receiver.eventually(lambda: len(receiver.told) == 3)
            await eventually(lambda: over(one))
    assert len({call.headers["webhook-id"] for call in receiver.calls("hook")}) == 1
    assert receiver.calls("unknown") == []  # no redirect is followed
    assert len(mail.letters) == 1
    assert sorted(one.notices.values_list("attempts", flat=True)) == [3, 3]
    assert not one.notices.filter(sent_at=None).exists()


async def test_two_workers_do_not_tell_it_twice(
    web: Server, raia: RaiaSimulator, receiver: Receiver, mail: MailServer
) -> None:
    raia.ripening = 0
    agent = raia_agent(raia)
    many = [tell_of(make_widget(agent, name=f"Shop {n}"), receiver) for n in range(8)]
    for one in many:
        async with Visitor(web.url, one.widget_id) as visitor:
            await complain(visitor, "Twice?")
    with telling(mail), telling(mail):
        await eventually(lambda: all(over(one) for one in many), timeout_s=30)
    assert len(receiver.told) == len(mail.letters) == 8
    AlertSettings.objects.filter(pk__in=[one.pk for one in many]).delete()


async def test_what_a_dead_process_had_in_hand_is_told_by_another(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver)
    async with Visitor(web.url, widget.key) as visitor:
        await complain(visitor, "Anybody?")
    receiver.fail_next("hook", Stall())
    mine = {"EMAIL_URL": mail.url, "ALERT_RETRY_S": "0.2"}
    with worker(None, **mine) as first:
        await receiver.eventually(lambda: receiver.stalled == 1)
        first.kill()
        first.wait()
    receiver.release()
    held = one.notices.filter(lease_token__isnull=False)
    assert held.update(lease_until=timezone.now()) >= 1  # two minutes later
    with telling(mail):
        await eventually(lambda: over(one))
    assert len({call.headers["webhook-id"] for call in receiver.calls("hook")}) == 1
    assert len(receiver.told) == 2


async def test_a_webhook_that_is_gone_is_not_asked_again(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver, emails=[])
    receiver.fail_always("hook", Status(410))
    async with Visitor(web.url, widget.key) as visitor:
        with telling(mail):
            await complain(visitor, "Hello?")
            await eventually(lambda: bool(one.notices.count()) and over(one))
    assert len(receiver.told) == 1
    notice = one.notices.get()
    assert (notice.sent_at, "HTTP 410" in notice.problem) == (None, True)


async def test_no_webhook_reaches_a_private_address_unless_allowed(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = tell_of(widget, receiver, emails=[])
    async with Visitor(web.url, widget.key) as visitor:
        await complain(visitor, "Inside?")
    with telling(mail, PROVIDER_ALLOW_PRIVATE="false"):
        await eventually(lambda: bool(one.notices.count()) and over(one))
    assert receiver.requests == []
    assert "private or local address" in one.notices.get(kind="comment").problem


# --- that nothing hides in it ---------------------------------------------------------------------


async def test_a_visitors_words_stay_plain_and_quoted(
    web: Server, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    Widget.objects.filter(pk=widget.pk).update(name="Shop\r\nBcc: all@shop.example")
    one = tell_of(widget, receiver)
    hostile = "<b>Hi</b>\n.\nBcc: you@evil.example\nhttps://evil.example \u202egnp.exe\x1b[31m"
    async with Visitor(web.url, widget.key) as visitor:
        with telling(mail):
            await complain(visitor, hostile)
            await eventually(lambda: bool(one.notices.count()) and over(one))
    (letter,) = mail.letters
    assert letter.get_content_type() == "text/plain"
    assert not letter.is_multipart()
    assert letter["Bcc"] is None
    assert mail.to == [["ines@shop.example"]]
    lines = letter.get_content().splitlines()
    for said in ("> <b>Hi</b>", "> .", "> Bcc: you@evil.example"):
        assert said in lines
    assert "> https://evil.example [U+202E]gnp.exe[U+001B][31m" in lines
    assert receiver.told[0]["data"]["items"][0]["comment"] == hostile  # data, as it is


def test_the_outbox_holds_nobodys_words() -> None:
    """So erasing a visitor's votes is all there is to erase."""
    for model in (Alert, Notice):
        kept = {field.name for field in model._meta.get_fields()}
        assert not kept & {"text", "payload", "subject", "comment", "question", "answer"}


def test_waits_grow_up_to_an_hour() -> None:
    first, fourth = alerts.wait_s(1), alerts.wait_s(4)
    assert fourth > 5 * first  # eight times as long, each spread by a fifth
    for attempts in (40, 400):
        assert 0.8 <= alerts.wait_s(attempts) / alerts.LONGEST_RETRY_S <= 1.2
