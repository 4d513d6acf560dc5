"""The dashboard: its figures, what it dares to compare, who may see it, and how it can be read."""

import html
import re
from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from chatwidget.models import Conversation, Widget
from feedback.charts import Plane, top_of
from feedback.figures import Figures, compare_shares, compare_times, lines
from feedback.models import Census, State, Tally
from feedback.statistics import Times

from ..cast import make_agent, make_conversation, make_feedback, make_operator, make_widget

HOSTILE = "<script>alert(1)</script> \u202eevil"


@pytest.fixture(autouse=True)
def _nothing_yet(undone: None) -> None:
    """Begin with nothing to show, counted just now."""
    Conversation.objects.all().delete()
    Tally.objects.all().delete()
    Census.objects.all().delete()
    Census.objects.create(zone="UTC", day=timezone.localdate(), counted_at=timezone.now())


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(make_operator("looking"))
    return client


def show(client: Client, query: str = "", status: int = 200) -> str:
    response = client.get(reverse("admin:feedback_tally_changelist") + query)
    assert response.status_code == status, response.status_code
    return response.content.decode()


def words_of(page: str) -> str:
    """What a person reads: no tags, entities resolved, one space between words."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def tally(
    widget: Widget, days_ago: int = 0, *, seconds: tuple[float, ...] = (), **counts: int
) -> Tally:
    """Store what a day was like on a widget."""
    times = {str(bucket): count for bucket, count in Times.of(seconds).counts.items()}
    return Tally.objects.create(
        day=timezone.localdate() - timedelta(days=days_ago),
        agent=widget.agent,
        widget=widget,
        times=times,
        **counts,
    )


def rival(name: str) -> Widget:
    return make_widget(make_agent(name), name=f"Site of {name}")


# --- figures --------------------------------------------------------------------------------------


def test_the_figures_of_a_period_are_added_up(operator: Client) -> None:
    site = rival("Ann")
    tally(site, 0, conversations=3, answers=60, failed=3, up=10, down=2, seconds=(2,) * 57)
    tally(site, 6, conversations=2, answers=40, failed=2, up=5, down=3, seconds=(20,) * 3)
    tally(site, 7, conversations=100, answers=900, failed=900, down=700)
    shown = words_of(show(operator, "?days=7"))
    assert "Thumbs up 75 %" in shown
    assert "53–89 % at 95 %, from 20 votes" in shown
    assert "Conversations 5 100 answers" in shown
    assert "5 of 100; 2–11 % at 95 %" in shown
    assert "Votes per 100 answers 20.0 15 up, 5 down" in shown
    assert "Answer time 2.0 s half came within; 95 % within 2" in shown
    assert "Conversations 105" in words_of(show(operator, "?days=30"))


def test_the_page_is_narrowed_to_days_an_agent_and_a_widget(operator: Client) -> None:
    one, other = rival("Ann"), rival("Bob")
    tally(one, 3, answers=11)
    tally(other, 3, answers=13)
    tally(other, 50, answers=17)
    day = timezone.localdate() - timedelta(days=50)
    assert "24 answers" in words_of(show(operator))
    assert "41 answers" in words_of(show(operator, "?days=90"))
    assert "11 answers" in words_of(show(operator, f"?agent={one.agent_id}"))
    assert "13 answers" in words_of(show(operator, f"?widget={other.pk}"))
    assert "30 answers" in words_of(show(operator, f"?days=90&agent={other.agent_id}"))
    assert "17 answers" in words_of(show(operator, f"?first={day}&last={day}"))
    assert "0 answers" in words_of(show(operator, f"?agent={one.agent_id}&widget={other.pk}"))


@pytest.mark.parametrize(
    "query",
    [
        "?days=0",
        "?days=1e9",
        "?first=2024-02-31",
        "?first=0001-01-01",
        "?first=2024-03-01&last=2024-01-01",
        "?first=9999-01-01",
        "?last=0001-01-01",
        "?agent=nobody",
        "?widget=%00",
        "?nonsense=1",
    ],
)
def test_what_is_asked_for_wrongly_is_answered_all_the_same(operator: Client, query: str) -> None:
    tally(rival("Ann"), answers=11)
    show(operator, query)


def test_what_waits_for_its_vendor_is_counted_now(operator: Client) -> None:
    talk = make_conversation([("visitor", "Open?"), ("agent", "Yes.")])
    long_ago = timezone.now() - timedelta(hours=5)
    answer = talk.messages.get(position=2)
    make_feedback(answer, delivery=State.PENDING, updated_at=long_ago)
    make_feedback(delivery=State.FAILED)
    make_feedback(delivery=State.DELIVERED)
    shown = words_of(show(operator))
    assert "On the way to vendors, now 1 the oldest from 5 hours ago 1 failed" in shown
    other = rival("Bob")
    assert "now 0 no vote waits" in words_of(show(operator, f"?agent={other.agent_id}"))
    assert "now 0 no vote waits" in words_of(show(operator, f"?widget={other.pk}"))


def test_with_nothing_to_count_the_page_says_what_will_be_there(operator: Client) -> None:
    shown = show(operator)
    assert "Nothing to count yet." in shown
    assert '<svg class="chart"' not in shown


def test_old_figures_are_said_to_be_old(operator: Client) -> None:
    tally(rival("Ann"), answers=11)
    assert "These figures are old" not in show(operator)
    Census.objects.update(counted_at=timezone.now() - timedelta(hours=2))
    assert "These figures are old" in show(operator)
    Census.objects.all().delete()
    assert "The counting has not begun" in show(operator)


# --- comparing ------------------------------------------------------------------------------------


def test_a_difference_is_marked_only_where_its_interval_says_so() -> None:
    base = Figures(answers=1000, up=480, down=320)
    better, close = Figures(answers=900, up=560, down=140), Figures(answers=500, up=250, down=150)
    assert compare_shares(better, base, 0.95).verdict == "more"
    assert compare_shares(better, base, 0.95).good
    assert compare_shares(base, better, 0.95).verdict == "less"
    assert not compare_shares(base, better, 0.95).good
    found = compare_shares(close, base, 0.95)
    assert found.verdict == ""
    assert found.words.startswith("no clear difference: +2.5 points (−")
    few = Figures(answers=9, up=9)
    assert compare_shares(few, base, 0.95).words == "too few to compare"


def test_more_failures_are_worse() -> None:
    base, worse = Figures(answers=1000, failed=10), Figures(answers=1000, failed=60)
    found = compare_shares(worse, base, 0.95, failures=True)
    assert (found.verdict, found.good) == ("more", False)


def test_medians_differ_only_where_their_intervals_do_not_touch() -> None:
    fast, slow = Times.of([2.0] * 50 + [3.0] * 50), Times.of([6.0] * 50 + [9.0] * 50)
    assert compare_times(Figures(times=slow), Figures(times=fast), 0.95).verdict == "slower"
    assert compare_times(Figures(times=fast), Figures(times=slow), 0.95).verdict == "faster"
    wide = Times.of([0.5] * 6 + [20.0] * 6)
    assert compare_times(Figures(times=wide), Figures(times=fast), 0.95).verdict == ""


def test_among_many_agents_chance_alone_marks_none() -> None:
    """With twenty comparisons at 95 % one would be marked by accident more often than not."""
    base = Figures(answers=3000, up=800, down=200)
    lucky = Figures(answers=1000, up=258, down=42)
    assert compare_shares(lucky, base, 0.95).verdict == "more"
    among = lines({"base": base, **dict.fromkeys(range(20), lucky)}, {})
    assert [line.shares.verdict for line in among[1:] if line.shares] == [""] * 20


def test_the_table_compares_with_the_one_that_answered_most(operator: Client) -> None:
    tally(rival("Ann"), answers=900, up=100, down=300)
    tally(rival("Bob"), answers=500, up=300, down=20)
    shown = words_of(show(operator))
    assert "Each compared with Ann, which gave the most answers." in shown
    assert re.search(r"Bob 94 % 91–96 % of 320 better \+68\.8 points", shown)


# --- who, and how ---------------------------------------------------------------------------------


def test_seeing_the_dashboard_needs_its_permission() -> None:
    user = make_operator("new", is_superuser=False)
    client = Client()
    client.force_login(user)
    show(client, status=403)
    assert "Dashboard" not in words_of(client.get("/admin/").content.decode())
    user.user_permissions.set(Permission.objects.filter(codename="view_tally"))
    tally(rival("Ann"), answers=11)
    shown = show(client)
    assert reverse("admin:feedback_feedback_changelist") not in shown  # votes are another matter
    assert "Dashboard" in words_of(client.get("/admin/").content.decode())


def test_the_front_page_leads_to_the_dashboard(operator: Client) -> None:
    site = rival("Ann")
    tally(site, 1, answers=50, up=30, down=10)
    front = operator.get("/admin/").content.decode()
    assert "75 % thumbs up in the last 7 days (60–86 %, 40 votes)" in words_of(front)
    assert f"?agent={site.agent_id}&amp;days=7" in front


def test_the_front_page_counts_one_as_one(operator: Client) -> None:
    tally(rival("Ann"), 1, answers=1)
    tally(rival("Bob"), 1, answers=12, up=1)
    make_feedback(delivery=State.FAILED)
    front = words_of(operator.get("/admin/").content.decode())
    for said in (" 1 answer ", "%, 1 vote)", "In the last 7 days 1 vote, 1 down"):
        assert said in front
    assert "1 vote could not be delivered" in front


def test_hostile_names_are_shown_as_text(operator: Client) -> None:
    tally(make_widget(make_agent(HOSTILE), name=HOSTILE), answers=20, up=12, down=3)
    tally(make_widget(make_agent("Ann"), name="Site"), answers=10)
    for page in (show(operator), operator.get("/admin/").content.decode()):
        assert "<script>alert" not in page
        outside = re.sub(r"<option[^>]*>[^<]*</option>", "", page)
        assert "\u202e" not in outside


def test_no_chart_needs_an_inline_script_or_style(operator: Client) -> None:
    tally(rival("Ann"), answers=11, up=3, seconds=(2,) * 11)
    page = show(operator)
    bare = re.sub('"[^"]*"', '""', page)
    assert not re.search(r"<style|<[^>]+\sstyle=|<[a-z][^>]*\son[a-z]+=", bare)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))


def charts_of(page: str) -> list[ET.Element]:
    found = re.findall(r"<svg class=\"chart\".*?</svg>", page, re.S)
    return [ET.fromstring(one) for one in found]


def test_every_chart_says_what_it_shows_and_has_its_table(operator: Client) -> None:
    site = rival("Ann")
    tally(site, 0, conversations=4, answers=60, failed=3, up=10, down=2, seconds=(2, 4) * 28)
    tally(site, 5, conversations=2, answers=40, up=5, down=3, seconds=(3,) * 40)
    page = show(operator, "?days=7")
    charts = charts_of(page)
    assert len(charts) == 4
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for chart in charts:
        assert chart.get("role") == "img"
        for name in (chart.get("aria-labelledby") or "").split():
            [element] = [one for one in chart.iter() if one.get("id") == name]
            assert (element.text or "").strip()
        assert len(chart.findall("rect[@class='hover']/title")) == 7
    tables = re.findall(r"<details class=\"chart-table\">.*?</details>", page, re.S)
    assert len(tables) == len(charts)
    for table in tables:
        assert table.count('<th scope="row">') == 7  # a row a day
    today = f"{timezone.localdate():%a %-d %b %Y}"
    answers, shares, times, votes = (words_of(table) for table in tables)
    assert f"{today} 4 60 3 5.0 % (2–14 %)" in answers
    assert f"{today} 12 10 83.3 % (55–95 %)" in shares
    assert f"{today} 56 " in times
    assert f"{today} 10 2 20.0" in votes


def test_marks_are_where_the_numbers_say() -> None:
    plane = Plane(10, 100)
    bar = plane.bar("plain", 3, 25, 75)
    assert (bar.x, bar.width) == ("31.25%", "7.5%")
    assert (float(bar.y), float(bar.height)) == (37.5, 75.0)
    assert plane.bar("plain", 0, 0, 0.1).height == "1"  # what is there is seen
    assert plane.bar("plain", 0, 0, 0).height == "0"
    strokes, dots = plane.line("good", [10, 20, None, 30, None, None, 40, 50, None, None])
    assert len(strokes) == 2  # broken where a day has nothing
    assert len(dots) == 5
    assert (strokes[0].x1, strokes[0].y1, strokes[0].y2) == ("5%", "135", "120")
    assert len(Plane(90, 1).labels([str(number) for number in range(90)])) <= 6
    assert [top_of(value) for value in (0, 0.3, 7, 10, 11, 99, 160, 2100)] == [
        *(1, 0.3, 8, 10, 15, 100, 200, 3000)
    ]


def test_the_number_of_questions_to_the_database_does_not_grow(operator: Client) -> None:
    def questions() -> int:
        with CaptureQueriesContext(connection) as asked:
            show(operator, "?days=90")
        return len(asked)

    tally(rival("Ann"), answers=11)
    show(operator)
    few = questions()
    for number in range(8):
        site = rival(str(number))
        for days_ago in range(20):
            tally(site, days_ago, answers=5, up=1)
    assert questions() == few
