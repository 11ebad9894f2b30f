"""Who begins to write a backend is told what is missing, once, and sees progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any
from unittest import SkipTest

import attrs
import pytest

from futurama.backend import EventBackend, NewEvent, State
from futurama.backends.memory import MemoryBackend
from futurama.conformance import BackendConformance, LawBroken, SetUpError, Status, check_suite
from futurama.conformance.instance import OPERATIONS
from futurama.conformance.strategies import START
from futurama.errors import BackendError
from tests.conformance.samples import SHARED, Shared, begun, make_no_manager, making, suite
from tests.mutants.registry import MEMORY


def failing(cls: type[BackendConformance]) -> dict[str, str]:
    """The tests that fail, with what they say; all others are held or wait."""
    results = check_suite(cls).results
    allowed = {Status.HELD, Status.UNCHECKABLE, Status.WAITS, Status.BROKEN}
    assert {result.status for result in results} <= allowed
    return {r.test: r.detail for r in results if r.status is Status.BROKEN}


def trouble(cls: type[BackendConformance]) -> str:
    """What is wrong with the set-up, which one test says and all others wait for."""
    with pytest.raises(SkipTest, match="waits for test_suite_is_set_up"):
        cls().test_count()
    with pytest.raises(SetUpError) as caught:
        cls().test_suite_is_set_up()
    return str(caught.value)


def test_stub_gets_one_list_of_what_to_write() -> None:
    """One test fails, with every operation in the order in which one best writes them."""
    cls = suite(make_backend=making(lambda: begun([])))

    found = failing(cls)

    assert list(found) == ["test_protocol_complete"]
    assert "13 of 13 raise NotImplementedError or are missing" in found["test_protocol_complete"]
    places = [
        found["test_protocol_complete"].index(f"{number:2}. {operation} ")
        for number, operation in enumerate(OPERATIONS, start=1)
    ]
    assert places == sorted(places)


def test_stub_of_a_shared_and_durable_backend_fails_one_test_too() -> None:
    """The tests that start processes wait like all others."""
    cls = suite(
        capabilities=SHARED,
        make_backend=making(lambda: begun([], SHARED)),
        connector=staticmethod(lambda backend: partial(begun, [], SHARED)),
    )
    assert list(failing(cls)) == ["test_protocol_complete"]


@pytest.mark.parametrize("written", [3, 6, 7, 9])
def test_each_operation_lets_more_tests_run(written: int) -> None:
    """In the order of the list, every operation that is written makes more laws hold."""
    before, after = (
        suite(make_backend=making(partial(begun, OPERATIONS[:count])))
        for count in (written - 1, written)
    )

    laws = [check_suite(cls).laws() for cls in (before, after)]

    held = [{law for law, status in found.items() if status is Status.HELD} for found in laws]
    assert held[0] < held[1]
    broken = [law for law, status in laws[1].items() if status is Status.BROKEN]
    assert broken == ["protocol.complete"]


def test_waiting_tests_say_for_what() -> None:
    """A test that needs an operation names it."""
    cls = suite(make_backend=making(lambda: begun(["open", "close", "add", "find", "count"])))
    with pytest.raises(SkipTest, match=r"^waits for claim\(\)$"):
        cls().test_claim_order()
    cls().test_add_new()


def test_half_written_operation_is_shown_by_a_program() -> None:
    """What only some calls find unwritten fails there, with the calls that lead to it."""

    class Half(MemoryBackend):
        def _requeue(self, event_id: str, now: datetime) -> bool:
            if event_id in self._rows and self._rows[event_id].state is State.DEAD:
                raise NotImplementedError("what is dead cannot be requeued yet")
            return False

    cls = suite(make_backend=making(Half))
    cls().test_protocol_complete()
    with pytest.raises(LawBroken, match="what is dead cannot be requeued yet") as caught:
        cls().test_requeue_dead()
    assert caught.value.law == "protocol.complete"
    assert "backend.requeue(['a']" in caught.value.program[-1]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"capabilities": None}, "MyTest.capabilities must be a futurama.backend.Capabilities"),
        ({"capabilities": {"durable": True}}, "got {'durable': True}"),
        ({"make_backend": staticmethod(make_no_manager)}, "put @contextmanager of contextlib"),
        ({"make_backend": making(lambda: None)}, "yielded None, which has no operation"),
        ({"make_backend": making(object)}, "which has no operation"),
        ({"make_backend": classmethod(lambda cls: 1 / 0)}, "ZeroDivisionError"),
    ],
)
def test_wrong_hooks_are_explained(members: dict[str, Any], said: str) -> None:
    """What the author gave the suite and cannot be used is said in one place."""
    assert said in trouble(suite(**members))


def test_generator_is_told_from_a_context_manager() -> None:
    """A forgotten decorator is named."""

    def make() -> Iterator[EventBackend]:
        yield MemoryBackend()

    said = trouble(suite(make_backend=staticmethod(make)))
    assert "which is no context manager; put @contextmanager" in said


def test_missing_hook_is_named() -> None:
    """A suite without make_backend says what to write."""
    cls = type("Incomplete", (BackendConformance,), {"capabilities": MEMORY})
    assert "Incomplete has no make_backend(); write it" in trouble(cls)


@pytest.mark.parametrize(("attribute", "value"), [("capabilities", "all"), ("name", None)])
def test_wrong_attribute_of_the_backend_is_named(attribute: str, value: object) -> None:
    """Name and capabilities are there from construction on."""

    def make() -> MemoryBackend:
        backend = MemoryBackend()
        setattr(backend, attribute, value)
        return backend

    assert f"MemoryBackend.{attribute} must be a" in trouble(suite(make_backend=making(make)))


def test_wrong_signature_is_shown_beside_the_right_one() -> None:
    """An operation that cannot be called as the protocol says stops everything, in one place."""

    class Unlimited(MemoryBackend):
        def claim(self, *, owner: str, now: datetime, due_before: datetime) -> Any:  # type: ignore[override] # the fault
            return super().claim(
                owner=owner, now=now, due_before=due_before, lease_until=now, limit=1
            )

    said = trouble(suite(make_backend=making(Unlimited)))
    assert "Unlimited.claim(" in said
    assert "EventBackend says claim(" in said
    assert "unexpected keyword argument 'lease_until'" in said


def test_store_that_is_not_empty_is_named() -> None:
    """What lies in the store already would break some law or other."""

    def make() -> MemoryBackend:
        backend = MemoryBackend()
        old = NewEvent(id="old", trigger_type="t", trigger_time=START, payload=b"", created=START)
        backend.add([old], if_exists="raise")
        return backend

    said = trouble(suite(make_backend=making(make)))
    assert "a store that holds events already, such as 'old'" in said


def test_backend_that_cannot_be_opened_says_where() -> None:
    """Of an error in open() the lines of the author's own code are shown."""

    class Closed(MemoryBackend):
        def open(self) -> None:
            raise BackendError("no such place", backend="closed")

    said = trouble(suite(make_backend=making(Closed)))
    assert "open() of the backend raised BackendError('closed: no such place')" in said
    assert 'raise BackendError("no such place", backend="closed")' in said


def connects(connector: Callable[[Any], Any]) -> type[BackendConformance]:
    """A suite on a backend that needs this connector."""
    return suite(
        capabilities=SHARED, make_backend=making(Shared), connector=staticmethod(connector)
    )


@pytest.mark.parametrize(
    ("connector", "said"),
    [
        (lambda backend: backend, "return a callable without arguments"),
        (lambda backend: lambda: None, "must make another backend"),
        (lambda backend: lambda: backend, "must make another backend"),
        (lambda backend: lambda: 1 / 0, "ZeroDivisionError"),
        (lambda backend: 1 / 0, "ZeroDivisionError"),
        (lambda backend: type("Local", (Shared,), {}), "cannot be sent to another process"),
    ],
)
def test_wrong_connector_is_explained(connector: Callable[[Any], Any], said: str) -> None:
    """A connector that cannot be used fails one test; those that need it wait."""
    cls = connects(connector)
    with pytest.raises(SetUpError, match=said):
        cls().test_suite_is_set_up()
    with pytest.raises(SkipTest, match=r"waits for connector\(\)"):
        cls().test_shared_processes()


def test_missing_connector_is_explained() -> None:
    """Who declares shared or durable is told which hook is missing."""
    cls = suite(capabilities=SHARED, make_backend=making(Shared))
    with pytest.raises(SetUpError, match=r"capabilities say shared and durable: override connec"):
        cls().test_suite_is_set_up()
    with pytest.raises(SkipTest, match=r"waits for connector\(\)"):
        cls().test_shared_one_store()


@pytest.mark.parametrize("law", ["shared.one-store", "shared.processes", "crash.acknowledged"])
def test_connector_to_another_store_is_suspected(law: str) -> None:
    """Where a second instance sees nothing at all, the connector is asked about."""
    (result,) = check_suite(connects(lambda backend: Shared), laws=[law]).results
    assert result.broken is not None
    assert result.broken.law == law
    assert "does connector() make an instance on the same store?" in result.detail


def test_stores_are_made_with_the_hooks_of_the_class() -> None:
    """The examination of one class says nothing about its subclass."""

    @contextmanager
    def make() -> Iterator[EventBackend]:
        yield Shared()

    cls = connects(lambda backend: Shared)
    cls().test_suite_is_set_up()
    other = type("Other", (cls,), {"capabilities": attrs.evolve(SHARED, max_data_bytes=7)})
    with pytest.raises(LawBroken, match=r"capabilities\.declared"):
        other().test_capabilities_declared()
