"""The HTTP trigger in a queue."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import timedelta

import pytest

from futurama.backend import Query, State
from futurama.http import HttpTrigger
from futurama.testing import VirtualQueue
from tests.http.target import Target

HOUR = timedelta(hours=1)


def test_called_at_its_time(target: Target) -> None:
    """The URL is called when the event is due, not before, and once (P2, P5)."""
    with VirtualQueue({"http": HttpTrigger(trust_env=False)}) as queue:
        queue.create("http", HOUR, {"url": target.url("/status/200")})
        queue.advance(HOUR - timedelta(microseconds=1))
        assert not target.requests
        queue.advance(timedelta(days=1))
        assert len(target.requests) == 1
        assert queue.stats()["succeeded"] == 1


def test_refused_calls_are_repeated(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    """A 503 is tried again until the retries are used up, each time logged in one line (P7)."""
    with VirtualQueue({"http": HttpTrigger(trust_env=False)}) as queue:
        event_id = queue.create("http", HOUR, {"url": target.url("/status/503")})
        queue.advance(timedelta(days=1))
        (dead,) = queue.backend.find(Query(ids=[event_id])).events
    attempts = [request.headers["futurama-attempt"] for request in target.requests]
    assert attempts == [str(number) for number in range(1, 20)]
    assert dead.state is State.DEAD
    assert dead.reason is not None
    assert f"HTTP 503 from {target.url('/status/503')}" in dead.reason
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 19
    assert not any(record.exc_info for record in warnings)


def test_impossible_data_is_buried_at_once() -> None:
    """What can never be called lies among the dead letters after one attempt (P7)."""
    with VirtualQueue({"http": HttpTrigger(trust_env=False)}) as queue:
        event_id = queue.create("http", HOUR, {"url": "gopher://localhost/"})
        queue.advance(HOUR)
        (dead,) = queue.backend.find(Query(ids=[event_id])).events
    assert (dead.state, dead.attempt) == (State.DEAD, 1)
    assert dead.reason == "'url' must be like 'https://example.com/path', got 'gopher://localhost/'"


def test_missing_httpx_is_named() -> None:
    """Without httpx the import says what to install."""
    code = "import sys; sys.modules['httpx'] = None; import futurama.http"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "futurama[http]"' in done.stderr
