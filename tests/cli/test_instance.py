"""``futurama run``: an instance as a process."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Spawn, assert_one_error, wait_until
from tests.http.target import Target

MODULE = """
import pathlib, time

def write(event):
    with open("calls", "a") as calls:
        calls.write(event.id + "\\n")

def hang(event):
    write(event)
    while not pathlib.Path("go-on").exists():
        time.sleep(0.01)
    write(event)

class Jobs:
    BY_TYPE = {"write": write}

SLOW = {"hang": hang}
OTHER_WRITE = {"write": hang}
OWN_HTTP = {"http": write}
NOT_A_MAPPING = [write]
NOT_A_TRIGGER = {"write": 5}
"""

ENDING_SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _module(cli: Cli) -> None:
    (cli.folder / "jobs_of_test.py").write_text(MODULE, encoding="utf-8")


def calls(cli: Cli) -> list[str]:
    """What the triggers of the module have written so far."""
    path = cli.folder / "calls"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_run_until_told_to_stop(cli: Cli, spawn: Spawn, number: int) -> None:
    """An instance calls what is due until Ctrl-C or SIGTERM, and says what it did."""
    instance = spawn("run", "jobs_of_test:Jobs.BY_TYPE", "--config", str(cli.config))
    assert instance.line().startswith("running on sqlite, calling http, write; ")
    cli.json("create", "write", "now", "--id", "a")
    cli.json("create", "write", "+1h", "--id", "far")
    wait_until(lambda: cli.json("stats")["waiting"] == 1)
    instance.send(number)
    status, output, errors = instance.finish()
    assert (status, errors) == (0, "")
    assert output.startswith("stopped: 1 called, 1 succeeded, 0 retried, ")
    assert calls(cli) == ["a"]


def test_http_is_there_by_default(cli: Cli, spawn: Spawn, target: Target) -> None:
    """Without any module an instance makes HTTP calls."""
    instance = spawn("run", "--config", str(cli.config))
    assert "calling http;" in instance.line()
    cli.json("create", "http", "now", json.dumps({"url": target.url("/status/200")}))
    wait_until(lambda: cli.json("stats")["waiting"] + cli.json("stats")["claimed"] == 0)
    instance.send(signal.SIGTERM)
    assert instance.finish()[0] == 0
    assert len(target.requests) == 1


def test_http_may_be_replaced(cli: Cli, spawn: Spawn) -> None:
    """A mapping with the type "http" has its way."""
    instance = spawn("run", "jobs_of_test:OWN_HTTP", "--config", str(cli.config))
    instance.line()
    cli.json("create", "http", "now", "--id", "a")
    wait_until(lambda: calls(cli) == ["a"])
    instance.send(signal.SIGTERM)
    assert instance.finish()[0] == 0


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_running_calls_may_end(cli: Cli, spawn: Spawn, number: int) -> None:
    """The first signal waits for the calls under way, and gives back what has not started."""
    cli.configure(
        backend="sqlite",
        path=str(cli.folder / "events.db"),
        max_worker_threads=1,
        stop_timeout_sec=60,
    )
    instance = spawn("run", "jobs_of_test:SLOW", "--config", str(cli.config))
    instance.line()
    cli.json("create", "hang", "now", "--id", "a")
    wait_until(lambda: calls(cli) == ["a"])
    cli.json("create", "hang", "now", "--id", "b")
    wait_until(lambda: cli.json("stats")["claimed"] == 2)
    instance.send(number)
    wait_until(lambda: cli.json("stats")["waiting"] == 1)  # given back
    (cli.folder / "go-on").touch()
    status, output, errors = instance.finish()
    assert (status, errors) == (0, "")
    assert output.startswith(
        "stopped: 1 called, 1 succeeded, 0 retried, 0 buried, 0 timed out, 1 released"
    )
    assert calls(cli) == ["a", "a"]
    assert cli.json("stats")["waiting"] == 1
    assert cli.json("show", "b")["attempt"] == 0


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_second_signal_ends_at_once(cli: Cli, spawn: Spawn, number: int) -> None:
    """Who sends a second signal does not wait for calls that hang."""
    path = str(cli.folder / "events.db")
    cli.configure(backend="sqlite", path=path, stop_timeout_sec=3600)
    instance = spawn("run", "jobs_of_test:SLOW", "--config", str(cli.config))
    instance.line()
    cli.json("create", "hang", "now", "--id", "a")
    wait_until(lambda: calls(cli) == ["a"])
    instance.insist(number)
    status, output, _ = instance.finish()
    assert (status, output) == (128 + number, "")


def test_calls_that_hang_are_told(cli: Cli, spawn: Spawn) -> None:
    """If a call does not end in time, the exit status and the last line say so."""
    cli.configure(backend="sqlite", path=str(cli.folder / "events.db"), stop_timeout_sec=0.1)
    instance = spawn("run", "jobs_of_test:SLOW", "--config", str(cli.config))
    instance.line()
    cli.json("create", "hang", "now", "--id", "a")
    wait_until(lambda: calls(cli) == ["a"])
    instance.send(signal.SIGTERM)
    status, output, errors = instance.finish()
    assert status == 1
    assert output.endswith("; some calls did not end in time\n")
    assert "1 calls unfinished" in errors


def test_calls_that_were_given_up_are_told(cli: Cli, spawn: Spawn) -> None:
    """The last line counts calls that took longer than ``trigger_timeout_sec``."""
    path = str(cli.folder / "events.db")
    cli.configure(backend="sqlite", path=path, trigger_timeout_sec=0.1, max_retry=0)
    instance = spawn("run", "jobs_of_test:SLOW", "--config", str(cli.config))
    instance.line()
    cli.json("create", "hang", "now", "--id", "a")
    wait_until(lambda: cli.json("stats")["dead"] == 1)
    (cli.folder / "go-on").touch()
    instance.send(signal.SIGTERM)
    status, output, _ = instance.finish()
    assert status == 0
    assert output.startswith("stopped: 1 called, 0 succeeded, 0 retried, 1 buried, 1 timed out, ")


def test_failed_calls_are_logged(cli: Cli, spawn: Spawn) -> None:
    """A call that fails stands on the standard error, without asking for it (P7)."""
    instance = spawn("run", "--config", str(cli.config))
    instance.line()
    cli.json("create", "http", "now", '{"url": 5}', "--id", "a")
    wait_until(lambda: cli.json("stats")["dead"] == 1)
    instance.send(signal.SIGTERM)
    assert "event a (http), attempt 1: 'url' must be a string" in instance.finish()[2]


def test_statistics_are_shown(cli: Cli, spawn: Spawn) -> None:
    """Who sets ``stat_interval_sec`` sees them without asking for more (P7)."""
    path = str(cli.folder / "events.db")
    cli.configure(backend="sqlite", path=path, stat_interval_sec=0.01)
    loud = spawn("run", "--config", str(cli.config))
    loud.line()
    loud.wait_for_error("statistics of")
    loud.send(signal.SIGTERM)
    assert loud.finish()[0] == 0


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no_such_module:X", "No module named 'no_such_module'"),
        ("jobs_of_test:Nothing", "no attribute 'Nothing'"),
        ("jobs_of_test:NOT_A_MAPPING", "must be a mapping"),
        ("jobs_of_test:NOT_A_TRIGGER", "the trigger for 'write' must be a function"),
        ("broken_of_test:X", "RuntimeError: out of order"),
    ],
)
def test_wrong_names(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, complaint: str
) -> None:
    """What cannot be loaded is one error, before anything is opened."""
    (tmp_path / "broken_of_test.py").write_text("raise RuntimeError('out of\\norder')")
    monkeypatch.syspath_prepend(tmp_path)
    assert_one_error(cli("run", name), complaint)
    assert "events.db" not in cli.files()


def test_two_mappings_with_one_type(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two triggers for one type are a mistake, not a choice."""
    monkeypatch.syspath_prepend(tmp_path)
    result = cli("run", "jobs_of_test:Jobs.BY_TYPE", "jobs_of_test:OTHER_WRITE")
    assert_one_error(result, "jobs_of_test:OTHER_WRITE has the trigger type 'write'")


@pytest.mark.parametrize("name", ["jobs_of_test", ":X", "jobs_of_test:"])
def test_names_need_both_parts(cli: Cli, name: str) -> None:
    """A name without a module, or without a name in it, is a wrong usage."""
    result = cli("run", name)
    assert result.exit_code == 2
    assert "is not like package.module:name" in result.stderr
