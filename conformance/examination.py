"""What has to be there before a test can say anything: the author's hooks, and every operation.

A backend that is half written gets one list of what is left to do instead of a failure of every
test. Each class of tests is examined once.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from inspect import getattr_static, isgenerator, signature
from typing import Any, Final
from unittest import SkipTest
from weakref import WeakKeyDictionary

import attrs

from futurama.backend import (
    Capabilities,
    Claim,
    Diagnosable,
    EventBackend,
    Move,
    NewEvent,
    Query,
    Settlement,
)
from futurama.conformance import watchdog
from futurama.conformance.author import Author, Connect
from futurama.conformance.failure import SetUpError, where
from futurama.conformance.instance import OPERATIONS
from futurama.conformance.strategies import START
from futurama.conformance.watchdog import HangsError
from futurama.errors import BackendUnavailableError

__all__ = ["Examination", "examined", "has_connector", "to_do"]

_UNLOCKS: Final[Mapping[str, str]] = {
    "open": "connect; every test waits for it",
    "close": "give everything back; every test waits for it",
    "now": "the shared clock: lifecycle.now",
    "add": "store new events; with it, find and count: add.new, add.raise, data.exact, id.byte-exact",
    "find": "show what is stored; after each call the suite looks through it: find.*, time.utc",
    "count": "how many there are in each state; at the end of each program it must agree",
    "claim": "hand out what is due: claim.*, time.never-early, lost.counted",
    "settle": "report done, retry, bury, release: settle.*, fence.*, lost.for-good",
    "renew": "move the ends of leases: renew.extends, fence.renew",
    "cancel": "remove, and say whether a call may be under way: cancel.*",
    "reschedule": "change what waits: reschedule.*, data.limit",
    "requeue": "bring dead letters back: requeue.*",
    "purge": "forget dead letters: purge.before; with it everything: concurrency.*, any program",
}
"""What each operation is, and which laws can be looked at once it is there too."""

_EVENT: Final = NewEvent(
    id="examined", trigger_type="t", trigger_time=START, payload=b"1", created=START
)
_CLAIM: Final = Claim(
    id="examined",
    trigger_type="t",
    trigger_time=START,
    payload=b"1",
    created=START,
    attempt=1,
    token=b"never made",
    due=START,
    lease_until=START,
    lost_before=False,
)
_CALLS: Final[Sequence[tuple[str, Sequence[Any], Mapping[str, Any]]]] = (
    ("now", (), {}),
    ("add", ([_EVENT],), {"if_exists": "raise"}),
    ("find", (Query(),), {}),
    ("count", (), {}),
    ("renew", ([_CLAIM],), {"now": START, "lease_until": START}),
    (
        "settle",
        (
            [
                Settlement.done(_CLAIM),
                Settlement.retry(_CLAIM, START),
                Settlement.bury(_CLAIM, "why"),
                Settlement.release(_CLAIM),
            ],
        ),
        {"now": START},
    ),
    ("reschedule", ([Move(id="examined")],), {}),
    ("requeue", (["examined"],), {"now": START}),
    ("purge", (), {"before": START}),
    (
        "claim",
        (),
        {"owner": "a", "now": START, "due_before": START, "lease_until": START, "limit": 1},
    ),
    ("cancel", (["examined"],), {}),
)
"""A call of each operation; together they leave nothing behind."""


@attrs.frozen(kw_only=True)
class Examination:
    """What was found.

    Attributes:
        trouble: what the author has to mend before anything can be tested; empty if nothing.
        unreachable: why the backend cannot be tested here and now; empty if it can.
        unwritten: the operations that are missing or raise ``NotImplementedError``.
        connector: what is wrong with the connector, if the capabilities need one.
        connects: whether it makes a second instance in this process all the same.
        version: of the server or library below the backend, where it can say so; else empty.
    """

    trouble: str = ""
    unreachable: str = ""
    unwritten: Sequence[str] = ()
    connector: str = ""
    connects: bool = True
    version: str = ""


_EXAMINED: WeakKeyDictionary[type[Author], Examination] = WeakKeyDictionary()


def examined(author: type[Author]) -> Examination:
    """Examine ``author``, or remember what was found."""
    if author not in _EXAMINED:
        _EXAMINED[author] = _examine(author)
    return _EXAMINED[author]


def has_connector(author: type[Author]) -> bool:
    """Whether ``author`` overrides :meth:`Author.connector`."""
    overridden, inherited = (getattr_static(cls, "connector") for cls in (author, Author))
    return overridden is not inherited


def to_do(unwritten: Sequence[str]) -> str:
    """The list of what is left to write."""
    lines = [
        f"  {number:2}. {operation:11} {_UNLOCKS[operation]}"
        for number, operation in enumerate(unwritten, start=1)
    ]
    head = f"{len(unwritten)} of {len(OPERATIONS)} raise NotImplementedError or are missing"
    foot = "  Tests that need one of them are skipped until it is there."
    return "\n".join([f"{head}; best written in this order:", *lines, foot])


def _examine(author: type[Author]) -> Examination:
    try:
        with ExitStack() as stack:
            backend = stack.enter_context(_made(author))
            _check_capabilities(author)
            unwritten, version = _looked_at(backend)
            connector, connects = _connector(author, backend)
    except SkipTest as skipped:
        return Examination(unreachable=str(skipped))
    except BackendUnavailableError as error:
        if os.environ.get("CI", "").lower() in {"", "0", "false"}:
            return Examination(unreachable=f"the backend cannot be reached: {error}")
        trouble = f"the backend cannot be reached, and CI is set, where nothing may be left untested: {error}"
        return Examination(trouble=trouble)
    except SetUpError as error:
        return Examination(trouble=str(error))
    except HangsError as hangs:  # in one test, rather than in each that needs this operation
        return Examination(trouble=str(hangs.broken))
    return Examination(unwritten=unwritten, connector=connector, connects=connects, version=version)


def _check_capabilities(author: type[Author]) -> None:
    declared: object = getattr(author, "capabilities", None)
    if not isinstance(declared, Capabilities):
        found = "it has none" if declared is None else f"got {declared!r}"
        raise SetUpError(
            f"{author.__name__}.capabilities must be a futurama.backend.Capabilities: what the "
            f"backend has to declare, field by field; {found}"
        )


@contextmanager
def _made(author: type[Author]) -> Iterator[EventBackend]:
    """A backend by ``make_backend``, if that does what it should."""
    name = f"{author.__name__}.make_backend()"
    if getattr_static(author, "make_backend") is getattr_static(Author, "make_backend"):
        raise SetUpError(
            f"{author.__name__} has no make_backend(); write it: a classmethod and context manager "
            "that yields a backend on a new, empty store"
        )
    with _trouble_of(name):
        manager: object = author.make_backend()
    if not isinstance(manager, AbstractContextManager):
        advice = "put @contextmanager of contextlib before it"
        if not isgenerator(manager):
            advice += " and yield the backend instead of returning it"
        raise SetUpError(f"{name} gave {manager!r}, which is no context manager; {advice}")
    with ExitStack() as stack:
        stack.enter_context(_trouble_of(f"leaving {name}"))
        with _trouble_of(name):
            backend: object = stack.enter_context(manager)
        if not any(hasattr(backend, operation) for operation in OPERATIONS):
            raise SetUpError(
                f"{name} yielded {backend!r}, which has no operation of "
                "futurama.backend.EventBackend; yield the backend"
            )
        if not isinstance(getattr(backend, "capabilities", None), Capabilities):
            raise SetUpError(
                f"{type(backend).__name__}.capabilities must be a futurama.backend.Capabilities, "
                f"got {getattr(backend, 'capabilities', None)!r}"
            )
        if not isinstance(getattr(backend, "name", None), str):
            raise SetUpError(f'{type(backend).__name__}.name must be a str, such as "mysql"')
        _check_signatures(backend)
        yield backend  # type: ignore[misc] # what it lacks is being examined


def _check_signatures(backend: object) -> None:
    """Whether each operation takes what the protocol says."""
    name = type(backend).__name__
    for operation, args, kwargs in _CALLS:
        method = getattr(backend, operation, None)
        if not callable(method):
            continue
        try:
            signature(method).bind(*args, **kwargs)
        except TypeError as error:
            protocol = signature(getattr(EventBackend, operation))
            raise SetUpError(
                f"{name}.{operation}{signature(method)} does not take what the suite gives it "
                f"({error}); EventBackend says {operation}{protocol}"
            ) from None
        except ValueError:  # written in C, without a signature
            continue


def _check_empty(backend: EventBackend) -> None:
    try:
        events = backend.find(Query()).events
    except Exception:  # not written yet, or not rightly
        return
    if events:
        raise SetUpError(
            f"make_backend() gave a store that holds events already, such as {events[0].id!r}; "
            "give each backend a new, empty store"
        )


def _looked_at(backend: EventBackend) -> tuple[Sequence[str], str]:
    """The operations that are missing, found by calling each, and the version."""
    missing = set()
    with _trouble_of("open() of the backend"):
        if not _is_written(backend, "open"):
            missing.add("open")
    _check_empty(backend)
    for operation, args, kwargs in _CALLS:
        try:
            written = _is_written(backend, operation, *args, **kwargs)
        except Exception:  # wrong it may be, but it is there
            written = True
        if not written:
            missing.add(operation)
    version = _version(backend)
    with _trouble_of("close() of the backend"):
        if not _is_written(backend, "close"):
            missing.add("close")
    return [operation for operation in OPERATIONS if operation in missing], version


def _version(backend: EventBackend) -> str:
    try:
        findings = backend.diagnose() if isinstance(backend, Diagnosable) else ()
    except Exception:  # no law is about it
        return ""
    return next((found.value for found in findings if found.name.endswith("version")), "")


def _is_written(backend: EventBackend, operation: str, *args: Any, **kwargs: Any) -> bool:
    method = getattr(backend, operation, None)
    if not callable(method):
        return False
    try:
        watchdog.call(operation, method, *args, **kwargs)
    except NotImplementedError:
        return False
    return True


def _connector(author: type[Author], backend: EventBackend) -> tuple[str, bool]:
    """What is wrong with the connector, and whether it makes a second instance all the same."""
    try:
        connect = _checked_connect(author, backend)
    except SetUpError as error:
        return str(error), False
    try:
        pickle.loads(pickle.dumps(connect))
    except Exception as error:  # pickle raises whatever it likes
        advice = (
            "return functools.partial of the class and its settings, both at the top of a module"
        )
        return f"{_made_by(author)} cannot be sent to another process ({error}); {advice}", True
    return "", True


def _checked_connect(author: type[Author], backend: EventBackend) -> Connect | None:
    needs = [name for name in ("shared", "durable") if getattr(author.capabilities, name)]
    if not needs:
        return None
    if not has_connector(author):
        raise SetUpError(
            f"capabilities say {' and '.join(needs)}: override connector() in {author.__name__}, or "
            "name such a function by --connector, so that the suite can make a second instance on "
            "the same store, also in another process"
        )
    with _trouble_of(f"{author.__name__}.connector()"):
        given: object = author.connector(backend)
    if not callable(given):
        advice = "return a callable without arguments, such as partial(MyBackend, settings)"
        raise SetUpError(f"{author.__name__}.connector() gave {given!r}; {advice}")
    connect: Connect = given
    with _trouble_of(_made_by(author)):
        other: object = connect()
    if other is backend or not any(hasattr(other, operation) for operation in OPERATIONS):
        raise SetUpError(
            f"{_made_by(author)} made {other!r}; it must make another backend, not opened yet, on "
            "the same store"
        )
    return connect


def _made_by(author: type[Author]) -> str:
    return f"what {author.__name__}.connector() gave"


@contextmanager
def _trouble_of(what: str) -> Iterator[None]:
    """Say of whatever is raised here that it came from ``what``, and where."""
    try:
        yield
    except (SkipTest, BackendUnavailableError, SetUpError):
        raise
    except Exception as error:  # whatever the author's code raises
        raise SetUpError(f"{what} raised {error!r}\n{where(error)}".rstrip()) from error
