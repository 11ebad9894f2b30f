"""``futurama create`` and ``futurama cancel``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from futurama.backend import Query, Settlement
from tests.cli.conftest import Cli, assert_one_error

FOREVER = "2100-01-01T00:00:00Z"


def test_create_prints_the_id(cli: Cli) -> None:
    """The only output of ``create`` is the id, by which the event is found."""
    result = cli("create", "http", FOREVER, '{"url": "http://localhost/"}')
    assert (result.exit_code, result.stderr) == (0, "")
    event_id = result.stdout.removesuffix("\n")
    with cli.backend() as backend:
        (stored,) = backend.find(Query(ids=[event_id])).events
    assert stored.trigger_type == "http"
    assert stored.trigger_time == datetime(2100, 1, 1, tzinfo=UTC)
    assert json.loads(stored.payload) == {"url": "http://localhost/"}


def test_create_for_programs(cli: Cli) -> None:
    """With ``--json`` the id is in an object, and one's own id is kept."""
    assert cli.json("create", "http", FOREVER, "--id", "ü 1") == {"id": "ü 1"}


@pytest.mark.parametrize(
    ("when", "wanted"),
    [
        ("2100-01-31T18:00:00+01:00", datetime(2100, 1, 31, 17, tzinfo=UTC)),
        ("2100-01-31 18:00:00.25Z", datetime(2100, 1, 31, 18, 0, 0, 250_000, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_instants(cli: Cli, when: str, wanted: datetime) -> None:
    """WHEN may be an ISO instant with an offset."""
    cli.json("create", "http", when, "--id", "a")
    assert datetime.fromisoformat(cli.json("show", "a")["trigger_time"]) == wanted


@pytest.mark.parametrize(
    ("when", "delay"),
    [
        ("now", timedelta(0)),
        ("+250ms", timedelta(milliseconds=250)),
        ("+10s", timedelta(seconds=10)),
        ("+1.5m", timedelta(seconds=90)),
        ("+2h30m", timedelta(minutes=150)),
        ("+7d", timedelta(days=7)),
    ],
)
def test_delays(cli: Cli, when: str, delay: timedelta) -> None:
    """WHEN may be a delay, counted from the moment of the command."""
    before = datetime.now(UTC)
    cli.json("create", "http", when, "--id", "a")
    after = datetime.now(UTC)
    created = datetime.fromisoformat(cli.json("show", "a")["trigger_time"])
    assert before + delay <= created <= after + delay


@pytest.mark.parametrize("when", ["tomorrow", "10s", "+10", "+1y", "+", "", "+9999999999999d"])
def test_nonsense_is_a_wrong_usage(cli: Cli, when: str) -> None:
    """A WHEN that is none is a wrong usage: the exit status is 2, and an example is given."""
    result = cli("create", "http", when)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert "WHEN" in result.stderr
    assert cli.files() == []


@pytest.mark.parametrize("text", ['{"a": [1, null, "ü"]}', '"x"', "1.5", "null"])
def test_data_from_the_standard_input(cli: Cli, text: str) -> None:
    """The DATA ``-`` is read from the standard input."""
    result = cli("create", "http", FOREVER, "-", "--id", "a", text=text)
    assert result.exit_code == 0, result.output
    assert cli.json("show", "a")["data"] == json.loads(text)


def test_data_from_a_file(cli: Cli, tmp_path: Path) -> None:
    """The DATA ``@FILE`` is read from a file."""
    (tmp_path / "data.json").write_text('{"a": 1}', encoding="utf-8")
    cli.json("create", "http", FOREVER, f"@{tmp_path / 'data.json'}", "--id", "a")
    assert cli.json("show", "a")["data"] == {"a": 1}


def test_no_data_is_null(cli: Cli) -> None:
    """DATA may be left out."""
    cli.json("create", "http", FOREVER, "--id", "a")
    assert cli.json("show", "a")["data"] is None


def test_taken_ids(cli: Cli) -> None:
    """A taken id is refused, kept or replaced as asked."""
    cli.json("create", "http", FOREVER, "1", "--id", "a")
    assert_one_error(
        cli("create", "http", FOREVER, "2", "--id", "a"), "'a' exists already", "--if-exists keep"
    )
    cli.json("create", "http", FOREVER, "3", "--id", "a", "--if-exists", "keep")
    assert cli.json("show", "a")["data"] == 1
    cli.json("create", "http", FOREVER, "4", "--id", "a", "--if-exists", "replace")
    assert cli.json("show", "a")["data"] == 4


def test_create_in_memory_is_refused(cli: Cli) -> None:
    """An event that would be forgotten with the process is not taken (P7)."""
    cli.configure(backend="memory")
    assert_one_error(cli("create", "http", FOREVER), "memory", "would forget the event")


def test_cancel_tells_each_outcome(cli: Cli) -> None:
    """One line per id; the exit status is 0 only if all were cancelled (P6)."""
    for event_id in ("a", "b", "c"):
        cli.json("create", "http", FOREVER, "--id", event_id)
    both = cli("cancel", "a", "b")
    assert (both.exit_code, both.stdout) == (0, "cancelled\ta\ncancelled\tb\n")
    mixed = cli("cancel", "c", "d")
    assert (mixed.exit_code, mixed.stdout) == (1, "cancelled\tc\nnot_found\td\n")


def test_cancel_of_a_claimed_event(cli: Cli) -> None:
    """An event that an instance holds is reported as in flight (P6)."""
    cli.json("create", "http", "now", "--id", "a")
    with cli.backend() as backend:
        now = backend.now()
        lease = now + timedelta(minutes=1)
        backend.claim(owner="x", now=now, due_before=now, lease_until=lease, limit=1)
    result = cli("cancel", "a", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"id": "a", "outcome": "in_flight"}


def test_cancel_for_programs(cli: Cli) -> None:
    """With ``--json`` there is one object per line."""
    result = cli("cancel", "a", "b", "--json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"id": "a", "outcome": "not_found"},
        {"id": "b", "outcome": "not_found"},
    ]


def test_ids_cannot_write_to_the_terminal(cli: Cli) -> None:
    """What a terminal would obey is escaped."""
    event_id = "\x1b[2J\n"
    assert cli("create", "http", FOREVER, "--id", event_id).stdout == "\\u001b[2J\\n\n"
    assert cli("cancel", event_id).stdout == "cancelled\t\\u001b[2J\\n\n"


def test_requeue_calls_dead_letters_again(cli: Cli) -> None:
    """A dead letter waits again with its attempts counted anew; anything else is said to be none."""
    cli.json("create", "http", "now", "--id", "a")
    with cli.backend() as backend:
        now = backend.now()
        lease = now + timedelta(minutes=1)
        claims = backend.claim(
            owner="x", now=now, due_before=now, lease_until=lease, limit=1
        ).claims
        backend.settle([Settlement.bury(claims[0], "no")], now=now)
    result = cli("requeue", "a", "b")
    assert (result.exit_code, result.stdout) == (1, "requeued\ta\nno_dead_letter\tb\n")
    shown = cli.json("show", "a")
    assert (shown["state"], shown["attempt"], shown["reason"]) == ("waiting", 0, None)
