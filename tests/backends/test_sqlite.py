"""What only SQLite has: a file, its locks and its processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from futurama.backend import AddOutcome, Move, Settlement, State, Verdict
from futurama.backends.sql.errors import ERRORS, SQLITE_FAULTS, Fault, translate
from futurama.backends.sqlite import SQLiteBackend, SQLiteDialect, SQLiteSettings
from futurama.errors import (
    BackendError,
    BackendSetupError,
    BackendUnavailableError,
    ConfigError,
)
from futurama.events import CancelOutcome, RescheduleOutcome
from tests.backends.samples import BY_DUE, T0, claim_all, event, events, explainable, seconds


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a file could be."""
    return str(tmp_path / "events.db")


@pytest.fixture
def sqlite(path: str) -> Iterator[SQLiteBackend]:
    """One opened backend on a new file."""
    backend = SQLiteBackend(SQLiteSettings(path=path))
    backend.open()
    yield backend
    backend.close()


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Someone else is in the middle of writing."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(SQLITE_FAULTS))
def test_every_code_becomes_one_of_our_errors(code: int) -> None:
    """Each code in the table becomes a BackendError that says where and what to do."""
    dialect = SQLiteDialect(SQLiteSettings(path="some.db"))
    error = sqlite3.OperationalError("SQLite's words")
    error.sqlite_errorcode = code
    fault, advice = dialect.fault(error)
    translated = translate(error, fault, advice, backend="sqlite", place=dialect.place)
    assert type(translated) is ERRORS[SQLITE_FAULTS[code][0]]
    for part in ("some.db", advice, "SQLite's words"):
        assert part in str(translated)


def test_extended_codes_mean_what_their_primary_code_means() -> None:
    """SQLITE_BUSY_SNAPSHOT is a kind of SQLITE_BUSY; a broken driver promise is not fatal."""
    dialect = SQLiteDialect(SQLiteSettings())
    error = sqlite3.OperationalError("busy")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY_SNAPSHOT
    assert dialect.fault(error) == SQLITE_FAULTS[sqlite3.SQLITE_BUSY]
    assert dialect.fault(sqlite3.ProgrammingError("odd"))[0] is Fault.UNAVAILABLE


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("path", {"path": ":memory:"}),
        ("path", {"path": ""}),
        ("path", {"path": "a\0b"}),
        ("synchronous", {"synchronous": "FULL; DROP TABLE events"}),
        ("table_name", {"table_name": 'e"vents'}),
        ("max_data_bytes", {"max_data_bytes": 2**31}),
    ],
)
def test_values_that_can_never_work_are_refused_at_once(key: str, values: dict[str, Any]) -> None:
    """The error names the key and shows the value."""
    with pytest.raises(ConfigError) as caught:
        SQLiteBackend.from_settings(SQLiteSettings(**values))
    assert caught.value.key == key
    assert repr(values[key]) in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    """The folder is not created; the error names the file."""
    with pytest.raises(BackendSetupError, match=r"nowhere.*events\.db.*folder"):
        SQLiteBackend(SQLiteSettings(path=str(tmp_path / "nowhere" / "events.db"))).open()


def test_not_a_database(path: str) -> None:
    """A file of something else stays as it is."""
    Path(path).write_text("Dear diary, " * 100)
    with pytest.raises(BackendSetupError, match="not an SQLite database"):
        SQLiteBackend(SQLiteSettings(path=path)).open()
    assert Path(path).read_text() == "Dear diary, " * 100


def test_foreign_table(path: str) -> None:
    """A table of that name with another layout is reported, not used and not recorded."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, name TEXT)")
    backend = SQLiteBackend(SQLiteSettings(path=path))
    for _ in range(2):
        with pytest.raises(BackendSetupError, match="table_name"):
            backend.open()


def test_without_create_schema_a_missing_one_is_an_error(path: str) -> None:
    """The error says what to run; having run it, opening works."""
    backend = SQLiteBackend(SQLiteSettings(path=path, create_schema=False))
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        backend.open()
    Path(path).unlink(missing_ok=True)
    assert backend.migrate() == [
        f"Created the file {path}.",
        "Created the table 'events', schema version 2.",
    ]
    assert backend.migrate() == []
    backend.open()
    backend.close()


def test_a_file_without_a_log_is_refused(sqlite: SQLiteBackend, path: str) -> None:
    """When someone has switched the write-ahead log off, opening says so and migrating helps."""
    sqlite.close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        sqlite.open()
    sqlite.migrate()
    sqlite.open()


def test_using_it_closed(path: str) -> None:
    """The error says to open it."""
    with pytest.raises(BackendError, match="open"):
        SQLiteBackend(SQLiteSettings(path=path)).count()


# -- locks ----------------------------------------------------------------------------------------


def test_a_full_disk(sqlite: SQLiteBackend) -> None:
    """There is too little of something, as other databases say it, too."""

    def work(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # no more than there are
        sqlite._rows.insert(connection, [sqlite._adding.new_row(event("a", payload=bytes(10**6)))])

    with pytest.raises(BackendUnavailableError, match="disk is full") as caught:
        sqlite._transactions.write(work)
    assert caught.value.__cause__ is not None
    assert sqlite._dialect.fault(caught.value.__cause__)[0] is Fault.CAPACITY


def test_writing_waits_a_bounded_time(sqlite: SQLiteBackend, path: str) -> None:
    """P8: when another process keeps the file locked, writers give up and change nothing."""
    impatient = SQLiteBackend(SQLiteSettings(path=path, busy_timeout_sec=0.05))
    impatient.open()
    with _locked(path), pytest.raises(BackendUnavailableError, match="busy_timeout_sec"):
        impatient.add([event("a")], if_exists="raise")
    assert impatient.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]
    impatient.close()


def test_reading_waits_for_nobody(sqlite: SQLiteBackend, path: str) -> None:
    """While someone writes, looking works, and so does the claim that finds nothing due."""
    sqlite.add([event("a")], if_exists="raise")
    with _locked(path):
        assert sqlite.count()[State.WAITING] == 1
        assert claim_all(sqlite, now=T0 - seconds(1)) == []
        sqlite.now()


def test_threads_queue_for_the_one_writing_connection(path: str) -> None:
    """A thread that does not get its turn gives up after busy_timeout_sec."""
    backend = SQLiteBackend(SQLiteSettings(path=path, busy_timeout_sec=0.05))
    backend.open()

    def work(_connection: sa.Connection) -> None:
        with pytest.raises(BackendUnavailableError, match="threads"):
            backend.cancel(["a"])

    backend._transactions.write(work)
    backend.close()


def test_threads_lose_nothing(sqlite: SQLiteBackend) -> None:
    """Many threads that add and claim at once each succeed, and each event is claimed once."""
    got: list[str] = []

    def run(number: int) -> None:
        for each in range(20):
            sqlite.add([event(f"{number}-{each}")], if_exists="raise")
            got.extend(claim.id for claim in claim_all(sqlite, limit=3))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got.extend(claim.id for claim in claim_all(sqlite))
    assert sorted(got) == sorted(f"{i}-{j}" for i in range(8) for j in range(20))


# -- statements -----------------------------------------------------------------------------------


def _explain(backend: SQLiteBackend, sql: str, parameters: Any) -> str:
    def ask(connection: sa.Connection) -> str:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
        return " | ".join(row[-1] for row in rows)

    return backend._transactions.read(ask)


@pytest.mark.parametrize("number", [0, 10, 20_000])
def test_every_hot_statement_uses_an_index(sqlite: SQLiteBackend, number: int) -> None:
    """Due statements walk the due index in order, the others look up ids; nothing is sorted."""
    sqlite.add(events(number), if_exists="raise")
    sqlite._transactions.write(lambda c: c.exec_driver_sql("ANALYZE"))
    for name, (sql, parameters) in explainable(sqlite, sqlite._dialect.max_in_list).items():
        plan = _explain(sqlite, sql, parameters)
        for scan_of_no_table in ("SCAN CONSTANT", "SCAN anon_1"):
            plan = plan.replace(scan_of_no_table, "")
        assert "SCAN" not in plan, (name, plan)
        assert "TEMP B-TREE" not in plan, (name, plan)
        assert ("events_due_id" in plan) is (name in BY_DUE), (name, plan)


def _work_in_long_batches(backend: SQLiteBackend) -> None:
    many = events(2 * backend._dialect.max_in_list + 1)
    assert set(backend.add(many, if_exists="raise")) == {AddOutcome.ADDED}
    assert set(backend.add(many, if_exists="keep")) == {AddOutcome.ADDED}
    moves = [Move(id=each.id, payload=b"new") for each in many]
    assert set(backend.reschedule(moves)) == {RescheduleOutcome.RESCHEDULED}
    claims = claim_all(backend)
    assert [claim.id for claim in claims] == [each.id for each in many]
    assert all(backend.settle([Settlement.retry(claim, T0) for claim in claims], now=T0))
    assert set(backend.cancel([each.id for each in many])) == {CancelOutcome.CANCELLED}


def test_batches_longer_than_a_statement_may_be(sqlite: SQLiteBackend) -> None:
    """More ids than one list may have still are one call."""
    _work_in_long_batches(sqlite)


def test_batches_longer_than_an_old_library_takes(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite before 3.32 takes 999 parameters, and gets no more."""
    connect = SQLiteDialect._connect

    def connect_to_old(self: SQLiteDialect, pragmas: Sequence[str]) -> sqlite3.Connection:
        connection = connect(self, pragmas)
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
        return connection

    monkeypatch.setattr(SQLiteDialect, "_connect", connect_to_old)
    monkeypatch.setattr(SQLiteDialect, "max_in_list", 900)
    monkeypatch.setattr("futurama.backends.sqlite._MAX_VALUES", 900)
    backend = SQLiteBackend(SQLiteSettings(path=path))
    backend.open()
    _work_in_long_batches(backend)
    backend.close()


# -- processes ------------------------------------------------------------------------------------


def _open_add_claim(path: str, number: int) -> list[str]:
    """In a process of its own: what a small instance does."""
    backend = SQLiteBackend(SQLiteSettings(path=path))
    backend.open()
    got = []
    for each in range(20):
        backend.add([event(f"{number}-{each}")], if_exists="raise")
        got += [claim.id for claim in claim_all(backend, limit=3)]
    backend.close()
    return got


def test_processes_share_a_file(path: str) -> None:
    """Processes that all create, open, add and claim at once each succeed, and share the events."""
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(_open_add_claim, [path] * 4, range(4)))
    backend = SQLiteBackend(SQLiteSettings(path=path))
    backend.open()
    got = [event_id for result in results for event_id in result]
    got += [claim.id for claim in claim_all(backend)]
    backend.close()
    assert sorted(got) == sorted(f"{i}-{j}" for i in range(4) for j in range(20))


_ADD_AND_HANG = """
import sys, threading
from futurama.backends.sqlite import SQLiteBackend, SQLiteSettings
from tests.backends.samples import events
backend = SQLiteBackend(SQLiteSettings(path=sys.argv[1]))
backend.open()
backend.add(events(100), if_exists="raise")
transaction = backend._transactions
def work(connection):
    backend._rows.delete(connection, [b"00000"])
    print("acknowledged", flush=True)
    threading.Event().wait()
transaction.write(work)
"""


def test_a_killed_process_loses_nothing_that_was_acknowledged(path: str) -> None:
    """P1: after SIGKILL what was added is there, what was not committed is not, no lock is left."""
    with subprocess.Popen(
        [sys.executable, "-c", _ADD_AND_HANG, path],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"acknowledged\n"
        child.send_signal(signal.SIGKILL)
    backend = SQLiteBackend(SQLiteSettings(path=path))
    backend.open()
    assert len(claim_all(backend)) == 100
    backend.close()


def _count_and_add_in_child(backend: SQLiteBackend, answers: Any) -> None:
    backend.add([event("child")], if_exists="raise")
    answers.put(backend.count()[State.WAITING])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(sqlite: SQLiteBackend) -> None:
    """After a fork both sides go on working on the same file."""
    sqlite.add([event("parent")], if_exists="raise")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_count_and_add_in_child, args=(sqlite, answers))
    child.start()
    assert answers.get(timeout=30) == 2
    child.join()
    assert child.exitcode == 0
    assert [claim.id for claim in claim_all(sqlite)] == ["child", "parent"]


# -- diagnosis ------------------------------------------------------------------------------------


def test_a_good_file_passes(sqlite: SQLiteBackend) -> None:
    """With the defaults there is nothing to advise."""
    findings = sqlite.diagnose()
    assert [finding for finding in findings if finding.verdict is not Verdict.OK] == []


def test_lazy_flushing_is_found(path: str) -> None:
    """P1: NORMAL survives a crash of the process, not of the machine; the finding says so."""
    backend = SQLiteBackend(SQLiteSettings(path=path, synchronous="NORMAL"))
    backend.open()
    (finding,) = [each for each in backend.diagnose() if each.verdict is not Verdict.OK]
    assert (finding.name, finding.value) == ("synchronous", "NORMAL")
    backend.close()


def test_every_writing_connection_flushes_as_asked(sqlite: SQLiteBackend) -> None:
    """P1: the key `synchronous` reaches the connection that commits."""
    full = 2
    assert (
        sqlite._transactions.write(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar_one())
        == full
    )
