"""``futurama demo``, small: it works, it tells the truth, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from futurama.cli.app import app
from tests.cli.conftest import Cli, Spawn, assert_one_error
from tests.servers import ExternalMySQL, MariaDB

SMALL = ("demo", "--events", "40", "--seconds", "1")


def check_report(report: dict[str, Any], events: int = 40) -> None:
    """A report of a demonstration in which all went well."""
    assert report["ok"]
    assert report["created"] == events
    assert report["called"] + report["cancelled"] + report["in_flight"] >= events
    assert report["called"] + report["cancelled"] <= events
    assert report["retried"] == events // 10
    assert report["cancelled"] + report["in_flight"] + report["too_late"] == events // 10
    for promise in ("lost", "duplicated", "early", "called_after_cancelled", "left_over"):
        assert report[promise] == 0
    for lateness in (report["call"], report["arrival"]):
        assert 0 <= lateness["p50_ms"] <= lateness["p99_ms"] <= lateness["max_ms"]


def temporary_folders() -> set[str]:
    """The folders of demonstrations that exist now."""
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("futurama-demo-")}


def test_without_a_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It needs nothing: without a configuration it uses SQLite in a folder that is gone afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = CliRunner().invoke(app, [*SMALL, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["backend"] == "sqlite"
    check_report(report)
    assert temporary_folders() == set()


@pytest.mark.parametrize("backend", ["sqlite", "memory"])
def test_with_a_configuration(cli: Cli, backend: str) -> None:
    """It runs on the configured store and leaves that empty."""
    if backend == "memory":
        cli.configure(backend="memory")
    check_report(cli.json(*SMALL))
    assert cli.json("stats")["waiting"] == 0


def test_on_mysql(cli: Cli, mysql_server: MariaDB | ExternalMySQL) -> None:
    """It runs on MySQL."""
    database = mysql_server.create_database()
    cli.configure(**mysql_server.settings(database))
    report = cli.json(*SMALL)
    assert report["backend"] == "mysql"
    check_report(report)
    assert mysql_server.execute(f"SELECT COUNT(*) FROM `{database}`.events") == [(0,)]
    mysql_server.drop_database(database)


def test_proxies_do_not_matter(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver is on this machine, whatever proxies the environment names."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    check_report(cli.json("demo", "--events", "10", "--seconds", "0.2"), events=10)


def test_report_for_people(cli: Cli) -> None:
    """Without a terminal there are plain lines: progress, then the report."""
    result = cli(*SMALL)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("created 40, called 0")
    assert lines[-1] == "every event was called once, not before its time, or cancelled"
    report = {line.split()[0]: line.split()[1] for line in lines[:-1] if not line.startswith(" ")}
    assert report["created"] == "40"
    for promise in ("lost", "duplicated", "early"):
        assert report[promise] == "0"


@pytest.mark.parametrize("options", [("--events", "0"), ("--seconds", "0"), ("--seconds", "nan")])
def test_bounds(cli: Cli, options: tuple[str, str]) -> None:
    """Numbers that make no sense are a wrong usage."""
    assert cli("demo", *options).exit_code == 2


def test_store_in_use_is_refused(cli: Cli) -> None:
    """A store that holds events is not disturbed."""
    cli.json("create", "http", "+1h", "--id", "a")
    assert_one_error(cli(*SMALL), "holds 1 event(s)", "choose another table_name or file")
    assert cli.json("show", "a")["state"] == "waiting"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_removes_its_events(cli: Cli, spawn: Spawn, number: int) -> None:
    """Ctrl-C and SIGTERM end the demonstration early, and the store is empty again."""
    program = spawn("demo", "--events", "1000", "--seconds", "3600", "--config", str(cli.config))
    assert program.line().startswith("created 1000,")
    program.send(number)
    status, _, errors = program.finish()
    assert (status, errors) == (
        130,
        "interrupted; all events of the demonstration were removed\n",
    )
    with cli.backend() as backend:
        assert sum(backend.count().values()) == 0
