"""Natural batching: what arrives while one batch is being written becomes the next batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from futurama.batching import Batcher
from futurama.errors import (
    BackendSetupError,
    BackendUnavailableError,
    EventsLockedError,
    InvalidEventError,
    OutcomeUnknownError,
)
from tests.unit.support import PATIENCE_SECONDS, Background, locked, rejected, unavailable


class Gate:
    """A flush that stands still until it is let through, so that others gather meanwhile.

    Attributes:
        batches: what was flushed, in order.
    """

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.changed = threading.Condition()
        self._permits = 0
        self._is_open = False

    def __call__(self, items: Sequence[str]) -> Sequence[str]:
        with self.changed:
            self.batches.append(list(items))
            self.changed.notify_all()
            assert self.changed.wait_for(
                lambda: self._is_open or self._permits > 0, PATIENCE_SECONDS
            )
            self._permits -= 1
        return [item.upper() for item in items]

    def let_through(self, count: int = 1) -> None:
        """Let so many flushes end."""
        with self.changed:
            self._permits += count
            self.changed.notify_all()

    def open(self) -> None:
        """Let all flushes end."""
        with self.changed:
            self._is_open = True
            self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until so many flushes have begun."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.batches) >= count, PATIENCE_SECONDS)


def wait_for_pending(batcher: Batcher[str, str], count: int) -> None:
    """Wait until so many callers have left their items. There is no event to wait for: it polls."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_SECONDS * 1000)):
        if len(batcher._pending) == count:
            return
        pause.wait(0.001)
    raise AssertionError(f"{len(batcher._pending)} items are pending, not {count}")


def in_order(batcher: Batcher[str, str], items: str) -> list[Background]:
    """One caller per item, each having left its item before the next comes."""
    threads = []
    for number, item in enumerate(items, start=len(batcher._pending) + 1):
        threads.append(Background(partial(batcher.call, item)))
        wait_for_pending(batcher, number)
    return threads


def test_an_idle_writer_writes_at_once() -> None:
    """One caller alone is a batch of one, in its own thread."""
    threads: list[threading.Thread] = []

    def flush(items: Sequence[int]) -> Sequence[int]:
        threads.append(threading.current_thread())
        return [-item for item in items]

    batcher = Batcher(flush, max_batch=10)
    assert [batcher.call(1), batcher.call(2)] == [-1, -2]
    assert threads == [threading.current_thread()] * 2


def test_others_gather_while_one_flush_is_blocked() -> None:
    """All who come during a flush are the next batch, in the order in which they came."""
    gate = Gate()
    batcher = Batcher(gate, max_batch=100)
    first = Background(lambda: batcher.call("a"))
    gate.wait_for(1)
    others = in_order(batcher, "bcdef")
    gate.open()
    assert [thread.result() for thread in [first, *others]] == list("ABCDEF")
    assert gate.batches == [["a"], list("bcdef")]


def test_leadership_is_handed_over() -> None:
    """The first caller does not write for the others for ever: it returns when its item is done."""
    gate = Gate()
    batcher = Batcher(gate, max_batch=100)
    first = Background(lambda: batcher.call("a"))
    gate.wait_for(1)
    others = in_order(batcher, "bc")
    gate.let_through()
    assert first.result() == "A", "the first caller had to wait for a second flush"
    gate.wait_for(2)
    assert others[0].is_alive()
    gate.open()
    assert [thread.result() for thread in others] == ["B", "C"]


def test_callers_that_were_just_woken_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a batch of several, the writer gives way before it writes its next item alone."""
    gate = Gate()
    batcher = Batcher(gate, max_batch=10)
    first = Background(partial(batcher.call, "a"))
    gate.wait_for(1)
    others = in_order(batcher, "bc")
    gate.open()
    for thread in (first, *others):
        thread.result()
    late: list[Background] = []

    def give_way() -> None:
        if not late:
            late.extend(in_order(batcher, "e"))

    monkeypatch.setattr("futurama.batching._give_way", give_way)
    batcher.call("d")
    late[0].result()
    assert sorted(gate.batches[-1]) == ["d", "e"]


def test_batches_are_bounded() -> None:
    """P8: no batch is longer than allowed, and nobody is forgotten."""
    gate = Gate()
    batcher = Batcher(gate, max_batch=2)
    first = Background(lambda: batcher.call("a"))
    gate.wait_for(1)
    others = in_order(batcher, "bcdef")
    gate.open()
    assert [thread.result() for thread in [first, *others]] == list("ABCDEF")
    assert gate.batches == [["a"], ["b", "c"], ["d", "e"], ["f"]]


def run_together(flush: Callable[[Sequence[str]], Sequence[str]], items: str) -> list[object]:
    """Give all ``items`` to one batch behind a blocked first one; results or errors, in order."""
    gate = Gate()
    is_first = True

    def gated(batch: Sequence[str]) -> Sequence[str]:
        nonlocal is_first
        if is_first:
            is_first = False
            return gate(batch)
        return flush(batch)

    batcher = Batcher(gated, max_batch=100)
    first = Background(lambda: batcher.call("-"))
    gate.wait_for(1)
    threads = in_order(batcher, items)
    gate.open()
    first.result()
    outcomes: list[object] = []
    for thread in threads:
        try:
            outcomes.append(thread.result())
        except BaseException as exc:
            outcomes.append(exc)
    return outcomes


@pytest.mark.parametrize(
    "error", [rejected("b"), InvalidEventError("b", field="data"), KeyError("bug")]
)
def test_a_bad_item_does_not_fail_its_neighbours(error: Exception) -> None:
    """P9: a batch that is refused because of one item is written again one by one."""
    flushed: list[str] = []

    def flush(batch: Sequence[str]) -> Sequence[str]:
        flushed.append("".join(batch))
        if "b" in batch:
            raise error
        return [item.upper() for item in batch]

    assert run_together(flush, "abc") == ["A", error, "C"]
    assert flushed == ["abc", "a", "b", "c"]


def test_what_is_locked_keeps_nobody_else_waiting() -> None:
    """P8: the others are written without it; only whoever wants it is told."""
    flushed: list[str] = []

    def flush(batch: Sequence[str]) -> Sequence[str]:
        flushed.append("".join(batch))
        if "b" in batch or "d" in batch:
            raise locked(*(number for number, item in enumerate(batch) if item in "bd"))
        return [item.upper() for item in batch]

    a, b, c, d = run_together(flush, "abcd")
    assert (a, c) == ("A", "C")
    assert isinstance(b, EventsLockedError)
    assert isinstance(d, EventsLockedError)
    assert flushed == ["abcd", "ac"]


@pytest.mark.parametrize(
    "error",
    [unavailable(), locked(), BackendSetupError("wrong password", backend="x")],
)
def test_trouble_of_the_whole_batch_is_everyones(error: Exception) -> None:
    """P8: an error that is no item's fault is not repeated for every item; each caller gets its own."""
    flushed: list[str] = []

    def flush(batch: Sequence[str]) -> Sequence[str]:
        flushed.append("".join(batch))
        raise error

    raised = run_together(flush, "abc")
    assert [repr(each) for each in raised] == [repr(error)] * 3
    assert [each.__cause__ for each in raised if isinstance(each, Exception)] == [error] * 3
    assert len(set(map(id, raised))) == 3
    assert flushed == ["abc"]


def test_it_goes_on_after_an_error() -> None:
    """P9: a failed batch is no obstacle for the next one."""
    outcomes = iter([unavailable(), None])

    def flush(batch: Sequence[str]) -> Sequence[str]:
        if error := next(outcomes):
            raise error
        return batch

    batcher = Batcher(flush, max_batch=10)
    with pytest.raises(BackendUnavailableError):
        batcher.call("a")
    assert batcher.call("b") == "b"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_an_interrupted_writer_blocks_nobody(error: BaseException) -> None:
    """P9: Ctrl-C in the thread that writes reaches its caller; its batch learns that nothing is sure."""
    gate, interrupted = Gate(), threading.Event()

    def flush(batch: Sequence[str]) -> Sequence[str]:
        result = gate(batch)
        if "b" in batch and not interrupted.is_set():
            interrupted.set()
            raise error
        return result

    batcher = Batcher(flush, max_batch=100)
    first = Background(lambda: batcher.call("a"))
    gate.wait_for(1)
    others = in_order(batcher, "bcd")
    gate.open()
    assert first.result() == "A"
    with pytest.raises(type(error)):
        others[0].result()
    for thread in others[1:]:
        with pytest.raises(OutcomeUnknownError):
            thread.result()
    assert batcher.call("e") == "E"


def test_nobody_takes_an_interrupted_write_for_done() -> None:
    """P1: when writing one by one is interrupted, those not yet written do not seem written."""

    def flush(batch: Sequence[str]) -> Sequence[str]:
        if batch == ["b"]:
            raise KeyboardInterrupt
        if len(batch) > 1:
            raise rejected("a")
        return [item.upper() for item in batch]

    outcomes = run_together(flush, "abc")
    assert [type(outcome) for outcome in outcomes[1:]] == [OutcomeUnknownError] * 2


def test_an_interrupted_caller_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """P9: Ctrl-C in a caller who only waits neither stops the writing nor makes it the leader."""
    gate = Gate()
    batcher = Batcher(gate, max_batch=100)
    first = Background(lambda: batcher.call("a"))
    gate.wait_for(1)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("futurama.batching._Ticket.wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            batcher.call("b")
    other = Background(lambda: batcher.call("c"))
    wait_for_pending(batcher, 1)
    gate.open()
    assert (first.result(), other.result()) == ("A", "C")
    assert batcher.call("d") == "D"


def test_a_wrong_number_of_results_is_everyones_error() -> None:
    """P1: a backend that answers for too few items is a bug that all callers see, and no deadlock."""
    outcomes = run_together(lambda batch: list(batch)[1:], "abc")
    assert [type(outcome) for outcome in outcomes] == [ValueError] * 3
    batcher: Batcher[str, str] = Batcher(lambda _: [], max_batch=10)
    for _ in range(2):
        with pytest.raises(ValueError, match="0 results for 1"):
            Background(lambda: batcher.call("a")).result()


def test_many_threads() -> None:
    """Each of many hammering callers gets its own result, once, and batches do form."""
    lock, sizes = threading.Lock(), []
    barrier = threading.Barrier(16)

    def flush(items: Sequence[int]) -> Sequence[int]:
        assert lock.acquire(blocking=False), "two flushes at once"
        try:
            sizes.append(len(items))
            return [item * 2 for item in items]
        finally:
            lock.release()

    batcher = Batcher(flush, max_batch=8)

    def hammer(base: int) -> list[int]:
        barrier.wait(PATIENCE_SECONDS)
        return [batcher.call(base + n) for n in range(200)]

    threads = [Background(partial(hammer, base)) for base in range(0, 16_000, 1000)]
    for number, thread in enumerate(threads):
        assert thread.result() == [2 * (1000 * number + n) for n in range(200)]
    assert sum(sizes) == 16 * 200
    assert max(sizes) <= 8
