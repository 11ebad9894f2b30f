"""Natural batching: what arrives while one batch is being written becomes the next batch."""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from futurama.errors import OutcomeUnknownError
from futurama.parts import in_parts

__all__ = ["Batcher"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Ticket(Generic[Item, Result]):
    """One item on its way, and its caller, who waits."""

    __slots__ = ("_woken", "error", "is_done", "item", "leads", "result")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: Exception | None = None
        self.is_done = False
        self.leads = False
        # Locked until woken, which happens once: cheaper than an Event.
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self) -> None:
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()

    def end(self, *, result: Result | None = None, error: Exception | None = None) -> None:
        """Let the caller go on; the leader does not wait."""
        self.result, self.error, self.is_done = result, error, True
        if not self.leads:
            self.wake()


class Batcher(Generic[Item, Result]):
    """Turns many single calls into few batched ones, without a timer and without a thread.

    The first caller writes its item at once. Callers that come meanwhile leave their items and
    wait; when the write returns, one of them writes all that has gathered. So an idle system has
    the latency of a single write, and a busy one the throughput of batches (group commit). If the
    last batch had several callers, those that were just woken get the chance to join the next one.

    An item that is locked or refused does not fail its neighbours, see
    :func:`futurama.parts.in_parts`; each caller goes on as soon as its own item is done.

    Args:
        flush: writes a batch, returns one result per item, or raises.
        max_batch: at most so many items per batch.
    """

    def __init__(
        self, flush: Callable[[Sequence[Item]], Sequence[Result]], *, max_batch: int
    ) -> None:
        self._flush = flush
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._pending: deque[_Ticket[Item, Result]] = deque()
        self._has_leader = False
        self._was_shared = False

    def call_alone(self, item: Item) -> Result:
        """Write ``item`` apart from all others, who need not wait for it."""
        [result] = self._flush([item])
        return result

    def call(self, item: Item) -> Result:
        """Write ``item`` in some batch; return its result or raise its error."""
        ticket: _Ticket[Item, Result] = _Ticket(item)
        try:
            with self._lock:
                self._pending.append(ticket)
                ticket.leads, self._has_leader = not self._has_leader, True
            if not ticket.leads:
                ticket.wait()
            if ticket.leads:
                self._lead(ticket)
        except BaseException:
            self._abandon(ticket)
            raise
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[return-value]  # done without an error

    def _lead(self, own: _Ticket[Item, Result]) -> None:
        """Write until ``own`` is done, then let a caller who came meanwhile go on."""
        try:
            while not own.is_done:
                if self._was_shared:
                    self._let_others_join()
                with self._lock:
                    size = min(len(self._pending), self._max_batch)
                    batch = [self._pending.popleft() for _ in range(size)]
                self._was_shared = size > 1
                try:
                    self._write(batch)
                finally:
                    for ticket in batch:
                        if not ticket.is_done:  # the flush was interrupted, by Ctrl-C, say
                            ticket.end(error=_interrupted())
        finally:
            with self._lock:
                own.leads = False
                self._pass_leadership()

    def _let_others_join(self) -> None:
        """Give the interpreter away for as long as that brings new items; no time is waited."""
        size = 0
        while size < len(self._pending) < self._max_batch:
            size = len(self._pending)
            _give_way()

    def _pass_leadership(self) -> None:
        self._has_leader = bool(self._pending)
        if self._has_leader:
            self._pending[0].leads = True
            self._pending[0].wake()

    def _abandon(self, ticket: _Ticket[Item, Result]) -> None:
        """The caller was interrupted (by Ctrl-C, say) while it waited: nobody must wait for it."""
        with self._lock:
            if ticket in self._pending:
                self._pending.remove(ticket)
            if ticket.leads:
                self._pass_leadership()

    def _write(self, batch: Sequence[_Ticket[Item, Result]]) -> None:
        for part, outcome in in_parts(self._flush_items, batch):
            if isinstance(outcome, Exception):
                for ticket in part:
                    ticket.end(error=_own(outcome) if len(part) > 1 else outcome)
            else:
                for ticket, result in zip(part, outcome, strict=True):
                    ticket.end(result=result)

    def _flush_items(self, batch: Sequence[_Ticket[Item, Result]]) -> Sequence[Result]:
        return self._flush([ticket.item for ticket in batch])


def _give_way() -> None:
    """Let another thread that is ready have the interpreter."""
    time.sleep(0)


def _own(error: Exception) -> Exception:
    """``error`` for one of several callers: one that all of them raise collects all their tracebacks."""
    try:
        own = copy.copy(error)
    except Exception:  # an exception of somebody else's may take no copy
        return error
    own.__cause__ = error
    return own


def _interrupted() -> OutcomeUnknownError:
    return OutcomeUnknownError("the thread that wrote this was interrupted", backend="queue")
