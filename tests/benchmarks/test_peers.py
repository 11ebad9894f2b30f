"""What the workers of peers count."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.worker import SLOT_BYTES, Calls


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """Three events for two workers, long due."""
    counts = tmp_path / "counts"
    counts.write_bytes(bytes(2 * SLOT_BYTES))
    return {"events": 3, "begin": 0.0, "limit": 1_000.0, "counts": str(counts)}


def test_workers_count_together(spec: dict[str, Any]) -> None:
    """Each worker sees when all of them together have called all events."""
    first, second = Calls({**spec, "index": 0}), Calls({**spec, "index": 1})
    first.add(0, 0.0)
    second.add(1, 0.0)
    assert not first.are_over()
    assert not second.are_over()
    first.add(2, 0.0)
    assert first.are_over()
    assert second.are_over()
    assert second.are_complete()


def test_workers_stop_when_the_time_is_up(spec: dict[str, Any]) -> None:
    """A peer that does not call all events is stopped nevertheless."""
    calls = Calls({**spec, "index": 0, "limit": 0.0})
    while not calls.are_over():
        time.sleep(0)  # until the clock has gone on
    assert not calls.are_complete()


def test_workers_tell_their_calls(spec: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The parent hears when the peer has stopped, and then of each call."""
    calls = Calls({**spec, "index": 0})
    calls.add(7, time.time() - 1)
    calls.report()
    done, told = capsys.readouterr().out.split("\n")
    ((number, at, late),) = json.loads(told)
    assert (done, number) == ("done", 7)
    assert late >= 1
    assert at <= time.time()
