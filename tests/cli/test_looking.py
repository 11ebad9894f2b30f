"""``futurama show``, ``futurama list`` and ``futurama stats``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from futurama.backend import Move, Settlement
from tests.cli.conftest import Cli, assert_one_error


def fill(cli: Cli) -> None:
    """One event in each state: w(aiting), c(laimed), d(ead); and one f(ar) away."""
    for event_id in ("d", "c", "w"):
        cli.json("create", f"type-{event_id}", "now", '{"n": 1}', "--id", event_id)
    cli.json("create", "far", "+1h", "--id", "f")
    with cli.backend() as backend:
        now = backend.now()
        for _ in range(2):
            lease_until = now + timedelta(hours=2)
            claim: dict[str, Any] = {"owner": "me", "lease_until": lease_until, "limit": 1}
            batch = backend.claim(now=now, due_before=now, **claim)
            if batch.claims[0].id == "d":
                backend.settle([Settlement.bury(batch.claims[0], "no\nhope")], now=now)


def ids(found: Any) -> list[str]:
    """The ids in the answer of ``list --json``."""
    return [event["id"] for event in found["events"]]


def test_show_tells_everything(cli: Cli) -> None:
    """Every field of the stored event is there, for programs and for people."""
    fill(cli)
    shown = cli.json("show", "c")
    assert (shown["state"], shown["owner"], shown["attempt"]) == ("claimed", "me", 1)
    assert shown["data"] == {"n": 1}
    due = datetime.fromisoformat(shown["due"])
    assert due - datetime.fromisoformat(shown["created"]) > timedelta(hours=1)
    dead = cli.json("show", "d")
    assert (dead["state"], dead["due"], dead["reason"]) == ("dead", None, "no\nhope")
    assert dead["died"] is not None
    lines = dict(line.split(maxsplit=1) for line in cli("show", "d").stdout.splitlines())
    assert lines.keys() == dead.keys()
    assert lines["reason"] == "no\\nhope"
    assert lines["data"] == '{"n": 1}'


def test_show_of_nothing(cli: Cli) -> None:
    """An id that is not stored is an error."""
    assert_one_error(cli("show", "a"), "no event with the id 'a'")


def test_show_of_broken_data(cli: Cli) -> None:
    """Data that is not JSON is shown as what it is."""
    cli.json("create", "http", "+1h", '"x"', "--id", "a")
    with cli.backend() as backend:
        backend.reschedule([Move(id="a", payload=b"\xff")])
    shown = cli.json("show", "a")
    assert "data" not in shown
    assert shown["undecodable_data"] == "\xff"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), ["w", "f", "c", "d"]),
        (("--state", "waiting"), ["w", "f"]),
        (("--state", "claimed"), ["c"]),
        (("--state", "dead"), ["d"]),
        (("--type", "far"), ["f"]),
        (("--type", "fa"), []),
        (("--from", "now"), ["f", "c"]),
        (("--from", "-1h"), ["w", "f", "c"]),
        (("--until", "+90m"), ["w", "f"]),
        (("--from", "+30m", "--until", "+90m"), ["f"]),
        (("--until", "2020-01-01T00:00:00Z"), []),
        (("--limit", "2"), ["w", "f"]),
    ],
)
def test_list_finds(cli: Cli, options: tuple[str, ...], found: list[str]) -> None:
    """Each option narrows the list, which is in the order of due; the dead come last."""
    fill(cli)
    assert ids(cli.json("list", *options)) == found


def test_list_for_people(cli: Cli) -> None:
    """There is one line per event, and the reason of a death."""
    fill(cli)
    result = cli("list")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["w", "f", "c", "d"]
    assert [row[2] for row in rows] == ["waiting", "waiting", "claimed", "dead"]
    assert [row[5] for row in rows] == ["", "", "me", "no\\nhope"]
    assert result.stderr == ""


def test_pages(cli: Cli) -> None:
    """Page by page one sees every event once."""
    fill(cli)
    seen: list[str] = []
    page: list[str] = []
    while True:
        found = cli.json("list", "--limit", "1", *page)
        seen += ids(found)
        if found["next"] is None:
            break
        page = ["--after", found["next"]]
    assert seen == ["w", "f", "c", "d"]


def test_people_learn_of_the_next_page(cli: Cli) -> None:
    """That there is more, and how to see it, stands on the standard error."""
    fill(cli)
    result = cli("list", "--limit", "3")
    assert len(result.stdout.splitlines()) == 3
    option, page = result.stderr.removeprefix("there are more: ").split()
    assert cli("list", option, page).stdout.split("\t")[0] == "d"


def test_beyond_the_calendar(cli: Cli) -> None:
    """A relative bound that leads out of the calendar is a wrong usage."""
    result = cli("list", "--until", "+999999999d")
    assert result.exit_code == 2
    assert "calendar" in result.stderr


def test_stats_count(cli: Cli) -> None:
    """Every state is counted, and the lag is that of the earliest event that is due."""
    assert cli.json("stats") == {"waiting": 0, "claimed": 0, "dead": 0, "lag_seconds": 0.0}
    fill(cli)
    stats = cli.json("stats")
    assert stats.pop("lag_seconds") > 0
    assert stats == {"waiting": 2, "claimed": 1, "dead": 1}


def test_stats_without_a_lag(cli: Cli) -> None:
    """What is due in the future is no lag."""
    cli.json("create", "http", "+1h")
    assert cli.json("stats")["lag_seconds"] == 0
    assert "lag\t0.000 s" in cli("stats").stdout
