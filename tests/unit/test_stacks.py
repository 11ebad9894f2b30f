"""Where threads and coroutines are at the moment."""

from __future__ import annotations

import asyncio
import threading

from futurama.stacks import stack_of
from tests.unit.support import PATIENCE_SECONDS, Background


def test_a_thread() -> None:
    """The stack of a thread ends where it waits; of one that has ended there is none."""
    gate, inside = threading.Event(), threading.Event()

    def somewhere_deep() -> None:
        inside.set()
        gate.wait(PATIENCE_SECONDS)

    thread = Background(somewhere_deep)
    assert inside.wait(PATIENCE_SECONDS)
    assert thread.ident is not None
    assert "in somewhere_deep" in stack_of(thread.ident)
    gate.set()
    thread.result()
    assert "in somewhere_deep" not in stack_of(thread.ident)


async def _innermost(gate: asyncio.Event) -> None:
    await gate.wait()


async def _outer(gate: asyncio.Event) -> None:
    await _innermost(gate)


def test_a_coroutine_that_waits() -> None:
    """All coroutines that wait for each other are shown, the outermost first; none after the end."""

    async def look() -> tuple[str, str]:
        gate = asyncio.Event()
        task = asyncio.create_task(_outer(gate))
        await asyncio.sleep(0)
        before = stack_of(task)
        gate.set()
        await task
        return before, stack_of(task)

    before, after = asyncio.run(look())
    assert before.index("in _outer") < before.index("in _innermost") < before.index("in wait")
    assert after == ""


def test_a_coroutine_that_runs() -> None:
    """Of a coroutine that blocks its event loop also the functions are shown that it has called."""
    gate, inside = threading.Event(), threading.Event()
    tasks: list[asyncio.Task[object] | None] = []

    def somewhere_deep() -> None:
        inside.set()
        gate.wait(PATIENCE_SECONDS)

    async def block() -> None:
        tasks.append(asyncio.current_task())
        somewhere_deep()

    thread = Background(lambda: asyncio.run(block()))
    assert inside.wait(PATIENCE_SECONDS)
    shown = stack_of(tasks[0])
    assert shown.index("in block") < shown.index("in somewhere_deep")
    gate.set()
    thread.result()


def test_nobody() -> None:
    """A call that waits for a place is nowhere."""
    assert "waits for a place" in stack_of(None)
