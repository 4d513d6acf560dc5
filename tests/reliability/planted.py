"""Plant faults in a copy of the service and see that the tests catch each of them.

    python -m tests.reliability.planted            # all, and write docs/results/planted.md
    python -m tests.reliability.planted stop seq   # those whose name has one of the words

A plant is one change of one file. Its text must occur there exactly once: where the service has
changed, plant anew.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..server import ROOT

PAGE = ROOT / "docs" / "results" / "planted.md"
LEFT_OUT = (".git", ".venv", ".data", "node_modules", ".stamps", ".hypothesis", "__pycache__")
LONGEST_S = 600


@dataclass(frozen=True)
class Plant:
    """A fault: in `path`, `sound` becomes `faulty`, and `test` is to fail."""

    name: str
    path: str
    sound: str
    faulty: str
    test: str


INTERLEAVINGS = "test_interleavings.py::test_every_interleaving_shows_what_a_fresh_fetch_has"
CUTS = "test_cuts.py::test_every_token_is_shown_once_and_in_order_through_cuts"
KILLS = "test_cuts.py::test_no_answer_is_lost_or_cut_short_when_servers_are_killed"
RESTART = "test_avalanche.py::test_everybody_comes_back_after_a_restart"
STOPS = "test_stops.py::test_any_order_of_stop_reload_second_tab_and_cut_has_one_end"
CRASH = "test_feedback_crash.py::test_no_vote_is_lost_wherever_its_carrier_is_killed[sqlite-gate]"
FROZEN = "test_feedback_workers.py::test_a_worker_that_was_frozen_changes_nothing_any_more[sqlite]"
CLOCK = "test_feedback_clock.py"
COMPARED = "../feedback/test_reconciliation.py"
LEAVING = "test_disconnects.py::test_nobody_who_leaves_at_once_leaves_a_hanging_or_double_question"

PLANTS = [
    # snapshot and changes
    Plant(
        "every fifth delta is lost on its way to the sockets",
        "chatwidget/hub.py",
        "                    listener.deliver(frame, text)\n",
        "                    if not (isinstance(frame, Delta) and frame.seq % 5 == 0):\n"
        "                        listener.deliver(frame, text)\n",
        INTERLEAVINGS,
    ),
    Plant(
        "frames are published twice",
        "chatwidget/hub.py",
        "                    listener.deliver(frame, text)\n",
        "                    listener.deliver(frame, text)\n" * 2,
        INTERLEAVINGS,
    ),
    Plant(
        "the snapshot is read before the socket is subscribed",
        "chatwidget/consumers.py",
        "        await self._process.hub.attach(self._visitor, self)\n"
        "        self._later(settings.RECHECK_S, self._recheck)\n"
        "        if not self._closed:\n"
        "            await self._snapshot(conversation)\n",
        "        await self._snapshot(conversation)\n"
        "        await self._process.hub.attach(self._visitor, self)\n",
        INTERLEAVINGS,
    ),
    Plant(
        "what comes while a snapshot is read is dropped",
        "chatwidget/consumers.py",
        "            self._held.append((frame, text))\n",
        "            pass\n",
        INTERLEAVINGS,
    ),
    Plant(
        "what comes while a snapshot is read is sent unsifted",
        "chatwidget/consumers.py",
        "            if _is_newer(frame, shown):\n",
        "            if True:\n",
        INTERLEAVINGS,
    ),
    Plant(
        "a snapshot shows what is stored, not what is coming",
        "chatwidget/hub.py",
        'return turn.body if turn and body["status"] in OPEN else body',
        "return body",
        CUTS,
    ),
    Plant(
        "what was read before an answer's end is told after it",
        "chatwidget/hub.py",
        "        return max(told_at, self._shown.get(visitor, 0.0)) >= read_at\n",
        "        return self._shown.get(visitor, 0.0) >= read_at\n",
        INTERLEAVINGS,
    ),
    Plant(
        "what was read before a snapshot is told after it",
        "chatwidget/consumers.py",
        "        hub.shown(visitor)\n",
        "",
        INTERLEAVINGS,
    ),
    # crashes
    Plant(
        "nobody looks for answers of dead processes",
        "chatwidget/runner.py",
        "in await self._store.read(admission.abandoned, self._room()):\n",
        "in list[Waiting]():\n",
        KILLS,
    ),
    Plant(
        "a sent question is not noted before it goes out",
        "chatwidget/claims.py",
        "    _expect(_mine(claimed).update(sent_at=timezone.now()))\n",
        "    _expect(_mine(claimed).update(sent_at=None))\n",
        KILLS,
    ),
    Plant(
        "an interrupted answer passes for a whole one",
        "chatwidget/providers/openai.py",
        'raise Interrupted("the answer was under way when its process ended")',
        'return (yield from (Text(" "), Ended(Finish.COMPLETE)))',
        KILLS,
    ),
    Plant(
        "an answer that is taken up again begins empty",
        "chatwidget/turn.py",
        '        self._pieces: list[str] = [shown["text"]] if shown["text"] else []\n',
        "        self._pieces: list[str] = []\n",
        KILLS,
    ),
    # returns
    Plant(
        "a token is known to its process only",
        "chatwidget/models.py",
        'hashlib.sha256(token.encode("utf-8", "replace"))',
        "hashlib.sha256(f\"{__import__('os').getpid()}{token}\".encode())",
        RESTART,
    ),
    Plant(
        "a server that ends sends no socket away",
        "chatwidget/hub.py",
        "            listener.send_away(random.uniform(0, spread_s))",
        "            pass",
        RESTART,
    ),
    Plant(
        "a return asks once more whose the conversation is",
        "chatwidget/consumers.py",
        "    if not page and not theirs.exists():\n",
        "    if not theirs.exists() and not page:\n",
        "test_avalanche.py::test_a_return_costs_two_queries",
    ),
    Plant(
        "a page of the past begins one message too early",
        "chatwidget/views.py",
        "position__lt=int(cursor))",
        "position__lt=int(cursor) - 1)",
        "test_return.py",
    ),
    Plant(
        "retention empties a conversation and leaves it there",
        "chatwidget/erasure.py",
        "        erased.delete()\n    process.wake(JOB)\n",
        "        for one in erased:\n            one.messages.all().delete()\n",
        "test_return.py::test_what_retention_removed_is_said_to_be_not_found",
    ),
    # leaving and stopping
    Plant(
        "an answer ends with its socket",
        "chatwidget/consumers.py",
        "            self._process.hub.detach(self._visitor, self)\n",
        "            self._process.hub.detach(self._visitor, self)\n"
        "            for answer in list(self._process.runner._running):\n"
        "                self._process.runner.stop(answer)\n",
        LEAVING,
    ),
    Plant(
        "a question's id is not the one its client made",
        "chatwidget/chat.py",
        "        id=message_id, role=Role.VISITOR, ",
        "        role=Role.VISITOR, ",
        LEAVING,
    ),
    Plant(
        "stop leaves the vendor's stream open",
        "chatwidget/runner.py",
        "            self.work.cancel()\n",
        "            pass\n",
        STOPS,
    ),
    Plant(
        "a stop is told as a stop and stored as an end",
        "chatwidget/claims.py",
        "            **{name: getattr(message, name) for name in ENDED},\n",
        "            **{name: getattr(message, name) for name in ENDED}\n"
        '            | {"status": Status.COMPLETED},\n',
        STOPS,
    ),
    # votes
    Plant(
        "a vote that a dead process held is left to it",
        "feedback/delivery.py",
        "        Q(lease_until=None) | Q(lease_until__lt=now), state=State.PENDING\n",
        "        Q(lease_until=None), state=State.PENDING\n",
        CRASH,
    ),
    Plant(
        "a vote counts as delivered once it is claimed",
        "feedback/delivery.py",
        "        lease_token=token,\n",
        "        lease_token=token,\n        state=State.DELIVERED,\n",
        CRASH,
    ),
    Plant(
        "a vote's outcome is written whoever holds it by then",
        "feedback/delivery.py",
        "    mine = Delivery.objects.filter(pk=due.pk, lease_token=due.token)\n    delivery =",
        "    mine = Delivery.objects.filter(pk=due.pk)\n    delivery =",
        FROZEN,
    ),
    Plant(
        "a vote is claimed though another has it",
        "feedback/delivery.py",
        "    _free(now).filter(pk__in=rows).update(\n",
        "    Delivery.objects.filter(pk__in=rows).update(\n",
        "../feedback/test_failures.py::test_a_row_that_two_have_read_is_claimed_by_one",
    ),
    Plant(
        "a vote that failed counts as delivered",
        "feedback/delivery.py",
        "    except ChatWidgetError as raised:\n        error = raised\n",
        "    except ChatWidgetError:\n        error = None\n",
        "test_feedback_storm.py",
    ),
    Plant(
        "a vote is given up after a day",
        "feedback/delivery.py",
        "LEAST_AGE = timedelta(days=7)\n",
        "LEAST_AGE = timedelta(days=1)\n",
        f"{CLOCK}::test_votes_arrive_after_days_without_their_vendor",
    ),
    Plant(
        "a vote does not wait as long as its vendor asks",
        "feedback/delivery.py",
        "max(wait_s(due.attempts), min(retry_after_s(error), LONGEST_WAIT_S))",
        "wait_s(due.attempts)",
        f"{CLOCK}::test_retry_after_is_kept_to_the_second_up_to_half_a_day",
    ),
    Plant(
        "votes sent again are counted and not sent",
        "feedback/delivery.py",
        "    state = schedule(delivery.feedback, delivery.agent).state\n",
        "    state = State.PENDING\n",
        f"{CLOCK}::test_what_is_parked_after_a_week_is_sent_again_by_one_action",
    ),
    Plant(
        "any rating there passes for the vote here",
        "feedback/reconciliation.py",
        "    if wanted is None or wanted.vote != rating.vote:\n        return False\n",
        "    if wanted is None:\n        return False\n",
        f"{COMPARED}::test_all_of_twenty_planted_differences_are_found",
    ),
    Plant(
        "a colleague's vote at the vendor is overwritten unasked",
        "feedback/reconciliation.py",
        "one.outcome is Outcome.CHANGED and again is Again.ALL",
        "one.outcome is Outcome.CHANGED and again is not Again.NOTHING",
        f"{COMPARED}::test_what_is_missing_is_delivered_again_and_a_colleagues_vote_only_if_asked",
    ),
    Plant(
        "a vote's id that comes late is not noticed",
        "feedback/delivery.py",
        '    return known.update(next_at=now, problem="")\n',
        "    return 0\n",
        "../feedback/test_backlog.py",
    ),
]


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """A copy to plant in, with this tree's interpreter."""
    with tempfile.TemporaryDirectory(prefix="chatwidget-planted-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        (tree / ".venv").symlink_to((ROOT / ".venv").resolve())
        yield tree


def is_caught(plant: Plant, tree: Path) -> bool:
    """Plant it, run its test, take it out again."""
    path = tree / plant.path
    sound = path.read_text()
    path.write_text(sound.replace(plant.sound, plant.faulty))
    command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:randomly"]
    try:
        done = subprocess.run(
            [*command, f"tests/reliability/{plant.test}"],
            cwd=tree,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
    finally:
        path.write_text(sound)
    has_failed = "FAILED " in done.stdout
    if done.returncode != has_failed:
        raise RuntimeError(f"{plant.name}: the test could not run:\n{done.stdout[-2000:]}")
    found = re.findall(r"^[\s|E]*(\w*(?:Error|Timeout)\b.*)", done.stdout, re.MULTILINE)
    print(f"{'caught' if has_failed else 'NOT CAUGHT'}: {plant.name}")
    print("\n".join(f"    {line[:120]}" for line in dict.fromkeys(found)), flush=True)
    return has_failed


def page(caught: list[Plant]) -> str:
    rows = "\n".join(f"| {one.name} | `{one.path}` | `{one.test}` |" for one in caught)
    return (
        "# Planted faults\n\n"
        f"{datetime.now(UTC):%d %B %Y}: {len(caught)} faults planted in the service one by one, "
        f"{len(caught)} caught. Made by `python -m tests.reliability.planted`.\n\n"
        f"| Fault | Planted in | Caught by, in `tests/reliability` |\n| --- | --- | --- |\n{rows}\n"
    )


def main(words: list[str]) -> int:
    for one in PLANTS:
        places = (ROOT / one.path).read_text().count(one.sound)
        assert places == 1, f"{places} places for: {one.name}"
    wanted = [one for one in PLANTS if not words or any(word in one.name for word in words)]
    with copy_of_the_tree() as tree:
        caught = [one for one in wanted if is_caught(one, tree)]
    print(f"{len(caught)} of {len(wanted)} caught")
    if len(caught) == len(PLANTS):
        PAGE.write_text(page(caught))
    return 0 if len(caught) == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
