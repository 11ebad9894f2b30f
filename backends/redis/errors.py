"""From the answers of Redis and the exceptions of redis-py to ours, in one place."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping

from redis import exceptions as exc

from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
    OutcomeUnknownError,
)

__all__ = ["ANSWERS", "MOVED", "answer_code", "translate"]

_LOGIN = "the server refuses the login; check the keys username and password"
_MOVED = "this server takes no writes now; is another one the master?"
_CLUSTER = (
    "this node of the cluster does not have the keys of the namespace; let host and port lead to "
    "the one that has"
)
_RIGHTS = (
    "the user lacks a right; it needs +@read, +@write, +@scripting, +@connection and +time, and the "
    "keys {NAMESPACE}:*"
)

ANSWERS: Mapping[str, tuple[type[BackendError], str]] = {
    "ASK": (BackendUnavailableError, _CLUSTER),
    "BUSY": (BackendUnavailableError, "the server is busy with another script; see its SLOWLOG"),
    "CLUSTERDOWN": (BackendUnavailableError, "the cluster is down; look at CLUSTER INFO"),
    "CROSSSLOT": (BackendSetupError, "the keys of one namespace lie in different slots"),
    "DENIED": (
        BackendSetupError,
        "the server is in protected mode: it has no password and listens to its own machine only",
    ),
    "LOADING": (BackendUnavailableError, "the server is still reading its data from disk"),
    "MASTERDOWN": (BackendUnavailableError, _MOVED),
    "MISCONF": (
        BackendUnavailableError,
        "the server takes no writes because saving failed; look at its log and its disk",
    ),
    "MOVED": (BackendUnavailableError, _CLUSTER),
    "NOAUTH": (BackendSetupError, _LOGIN),
    "NOPERM": (BackendSetupError, _RIGHTS),
    "NOREPLICAS": (
        BackendUnavailableError,
        "the server takes no writes because too few replicas follow; see min-replicas-to-write",
    ),
    "OOM": (
        BackendUnavailableError,
        "the memory of the server is full; raise its maxmemory, or remove something",
    ),
    "READONLY": (BackendUnavailableError, _MOVED),
    "REDIRECT": (BackendUnavailableError, _MOVED),
    "TRYAGAIN": (BackendUnavailableError, "the cluster is moving the keys of the namespace"),
    "WRONGPASS": (BackendSetupError, _LOGIN),
    "WRONGTYPE": (
        BackendSetupError,
        "one of the keys {NAMESPACE}:* belongs to something else; choose another namespace",
    ),
}
"""By the code that an error answer begins with: nothing was changed by the command."""

_TEXTS: Mapping[str, tuple[type[BackendError], str]] = {
    "SCRIPT KILL": (BackendUnavailableError, "someone ended the script on the server"),
    "DB index": (BackendSetupError, "the server has no such database; check the key db"),
    "unknown command": (
        BackendSetupError,
        "the server lacks a command; is it older than 6.2, or was the command renamed?",
    ),
    "invalid bulk length": (
        BackendRejectedError,
        "the server takes no data that long; see its proto-max-bulk-len",
    ),
    "max number of clients": (
        BackendUnavailableError,
        "the server has no connection left; lower max_open_connection",
    ),
    "user executing the script": (BackendSetupError, _RIGHTS),
    "user_script": (
        BackendSetupError,
        (
            "a script does not understand what is stored; were keys of the namespace changed or "
            "removed by something else?"
        ),
    ),
}
"""By what stands in answers that have no code of their own, or only ERR."""

MOVED = frozenset({"ASK", "MASTERDOWN", "MOVED", "READONLY", "REDIRECT"})
"""After these answers no connection to the server is of any use."""

_CODES: Mapping[type[Exception], str] = {
    # redis-py cuts the code off the messages of these.
    exc.AskError: "ASK",
    exc.AuthenticationError: "NOAUTH",
    exc.BusyLoadingError: "LOADING",
    exc.ClusterCrossSlotError: "CROSSSLOT",
    exc.ClusterDownError: "CLUSTERDOWN",
    exc.MasterDownError: "MASTERDOWN",
    exc.MovedError: "MOVED",
    exc.NoPermissionError: "NOPERM",
    exc.OutOfMemoryError: "OOM",
    exc.ReadOnlyError: "READONLY",
    exc.TryAgainError: "TRYAGAIN",
}

_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""What TLS calls a connection that was lost."""

_CODE = re.compile(r"([A-Z]+) ")

_NESTED_CODE = re.compile(r" -([A-Z]+) ")
"""Before Redis 7 an error inside a script was ``ERR Error running script (...): -OOM command ...``."""


def answer_code(error: BaseException) -> str | None:
    """The code that an error answer of the server begins with; None if it is no such answer."""
    for cls in type(error).__mro__:
        if cls in _CODES:
            return _CODES[cls]
    if not isinstance(error, exc.ResponseError):
        return None
    nested, first = _NESTED_CODE.search(str(error)), _CODE.match(str(error))
    return nested[1] if nested else first[1] if first else "ERR"


def translate(error: BaseException, *, place: str, is_sent: bool, may_change: bool) -> BackendError:
    """The exception to raise ``from error``.

    Args:
        error: of redis-py or of the operating system.
        place: which server it is; must contain no secret.
        is_sent: whether the command was sent, at least in part.
        may_change: whether the command can change anything.
    """
    cls, advice = _meaning(error, is_sent=is_sent, may_change=may_change)
    return cls(f"{place}: {advice} ({error})", backend="redis")


def _meaning(
    error: BaseException, *, is_sent: bool, may_change: bool
) -> tuple[type[BackendError], str]:
    code = answer_code(error)
    if code is not None and code in ANSWERS:
        return ANSWERS[code]
    for text, meaning in _TEXTS.items():
        if isinstance(error, exc.RedisError) and text in str(error):
            return meaning
    if is_sent and may_change:
        return OutcomeUnknownError, "whether the change was made is unknown"
    if code is not None:
        return BackendUnavailableError, "the server refuses a command"
    if is_sent:
        return BackendUnavailableError, "the connection was lost"
    causes = list(_causes(error))
    if any(isinstance(each, ssl.SSLError) and not isinstance(each, _CUT_OFF) for each in causes):
        return BackendSetupError, "TLS failed; check the keys that begin with ssl"
    if any(isinstance(each, UnicodeError) for each in causes):
        return BackendSetupError, "the key host cannot be a host name"
    return (
        BackendUnavailableError,
        "cannot reach the server; is it running, and are the keys host, port and ssl right?",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """``error`` and what led to it."""
    while error is not None:
        yield error
        error = error.__context__
