"""From the codes of drivers and servers to the classes of :mod:`futurama.errors`, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from sqlalchemy import exc

from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
)

__all__ = [
    "MYSQL_FAULTS",
    "POSTGRESQL_FAULTS",
    "POSTGRESQL_REFUSALS",
    "SQLITE_FAULTS",
    "Fault",
    "IdsTakenError",
    "driver_error",
    "translate",
]


class Fault(Enum):
    """What kind of trouble an error code means, before it is an exception of ours."""

    DUPLICATE = "duplicate"
    """A key is taken: the transaction looks at what is stored and decides again."""
    CONFLICT = "conflict"
    """The server chose this transaction as the victim: the whole of it is repeated at once."""
    LOCK_WAIT = "lock wait"
    """A lock was not free for long: the transaction is repeated once."""
    UNAVAILABLE = "unavailable"
    """Not now."""
    LOST = "lost"
    """The connection has ended."""
    MOVED = "moved"
    """This server does not take writes any more, another one does: not on this connection."""
    MISSING = "missing"
    """No such database or table."""
    UNSUPPORTED = "unsupported"
    """The server does not understand a statement."""
    SETUP = "setup"
    """Someone has to act."""
    REJECTED = "rejected"
    """The server refuses this very value."""


ERRORS: Mapping[Fault, type[BackendError]] = {
    Fault.DUPLICATE: BackendUnavailableError,
    Fault.CONFLICT: BackendUnavailableError,
    Fault.LOCK_WAIT: BackendUnavailableError,
    Fault.UNAVAILABLE: BackendUnavailableError,
    Fault.LOST: BackendUnavailableError,
    Fault.MOVED: BackendUnavailableError,
    Fault.MISSING: BackendSetupError,
    Fault.UNSUPPORTED: BackendSetupError,
    Fault.SETUP: BackendSetupError,
    Fault.REJECTED: BackendRejectedError,
}
"""What a fault becomes when repeating the transaction did not help."""

_UNREACHABLE = (
    Fault.UNAVAILABLE,
    "cannot reach the server; is it running, and are the keys host and port right?",
)
_LOST = (Fault.LOST, "the connection was lost")
_OVERLOADED = (Fault.UNAVAILABLE, "the server is short of something; look at its error log")
_INTERRUPTED = (Fault.UNAVAILABLE, "the statement was interrupted on the server")
_CONFLICT = (Fault.CONFLICT, "other transactions kept getting in the way")
_MOVED = (Fault.MOVED, "this server takes no writes now; is another one the writer?")
_LOGIN = (
    Fault.SETUP,
    "the server refuses the login; check the keys username and password, and what the user may do",
)
_RIGHTS = (
    Fault.SETUP,
    (
        "the user lacks a right; it needs SELECT, INSERT, UPDATE, DELETE on the table of events, "
        "SELECT, INSERT on futurama_owners, SELECT on futurama_schema, and CREATE unless another "
        "user runs `futurama migrate`"
    ),
)
_NO_SCHEMA = (Fault.MISSING, "the database or table does not exist; run `futurama migrate`")
_LAYOUT = (
    Fault.SETUP,
    "a table of this name has another layout; choose another table_name, or run `futurama migrate`",
)
_VALUE = (Fault.REJECTED, "the server refuses a value")
_UNSUPPORTED = (Fault.UNSUPPORTED, "the server does not understand a statement; is it too old?")

_DUPLICATE = (Fault.DUPLICATE, "the same ids kept being taken and freed")
_TLS = (Fault.SETUP, "TLS failed; check the keys ssl, ssl_ca and ssl_verify")
_WANTS_TLS = (Fault.SETUP, "the server wants TLS; set ssl to true")
_NO_CONNECTION_LEFT = (
    Fault.UNAVAILABLE,
    "the server has no connection left; lower max_open_connection",
)
_LOCK_WAIT = (Fault.LOCK_WAIT, "a lock was not free within lock_wait_timeout_sec")

MYSQL_FAULTS: Mapping[int, tuple[Fault, str]] = {
    # Of the client: pymysql.constants.CR
    0: _LOST,
    2002: _UNREACHABLE,
    2003: _UNREACHABLE,
    2005: _UNREACHABLE,
    2006: _LOST,
    2013: _LOST,
    2014: _LOST,
    2026: _TLS,
    2027: _LOST,
    2055: _LOST,
    # Of the server: "Server Error Message Reference" of MySQL 8.4, "MariaDB Error Codes"
    1020: _CONFLICT,
    1021: _OVERLOADED,
    1030: _OVERLOADED,
    1037: _OVERLOADED,
    1038: _OVERLOADED,
    1040: _NO_CONNECTION_LEFT,
    1041: _OVERLOADED,
    1042: _UNREACHABLE,
    1043: _UNREACHABLE,
    1044: _LOGIN,
    1045: _LOGIN,
    1047: _MOVED,
    1049: _NO_SCHEMA,
    1053: _MOVED,
    1054: _LAYOUT,
    1062: _DUPLICATE,
    1064: _UNSUPPORTED,
    1114: _OVERLOADED,
    1118: _VALUE,
    1129: (Fault.SETUP, "the server has blocked this host; run FLUSH HOSTS there"),
    1130: _LOGIN,
    1142: _RIGHTS,
    1143: _RIGHTS,
    1146: _NO_SCHEMA,
    1152: _LOST,
    1153: (Fault.REJECTED, "a statement is too long; raise max_allowed_packet on the server"),
    1158: _LOST,
    1159: _LOST,
    1160: _LOST,
    1161: _LOST,
    1193: _UNSUPPORTED,
    1203: (Fault.UNAVAILABLE, "the user has no connection left; lower max_open_connection"),
    1205: _LOCK_WAIT,
    1206: _OVERLOADED,
    1213: _CONFLICT,
    1226: (Fault.UNAVAILABLE, "the user has used up a limit of the server"),
    1227: _RIGHTS,
    1231: _UNSUPPORTED,
    1235: _UNSUPPORTED,
    1264: _VALUE,
    1290: _MOVED,
    1292: _VALUE,
    1317: _INTERRUPTED,
    1366: _VALUE,
    1370: _RIGHTS,
    1406: _VALUE,
    1524: _LOGIN,
    1637: _OVERLOADED,
    1698: _LOGIN,
    1792: _MOVED,
    1820: _LOGIN,
    1836: _MOVED,
    1862: _LOGIN,
    1927: _LOST,
    1969: _INTERRUPTED,
    3024: _INTERRUPTED,
    3100: _MOVED,
    3118: _LOGIN,
    3159: _WANTS_TLS,
    4031: _LOST,
    4151: _LOGIN,
}
"""By the number that drivers give."""

POSTGRESQL_FAULTS: Mapping[str, tuple[Fault, str]] = {
    # https://www.postgresql.org/docs/current/errcodes-appendix.html
    "08": _LOST,
    "0A": _UNSUPPORTED,
    "22": _VALUE,
    "23": _VALUE,
    "23505": _DUPLICATE,
    "25006": _MOVED,
    "25P03": _LOST,
    "28": _LOGIN,
    "3D000": _NO_SCHEMA,
    "3F000": (
        Fault.SETUP,
        "no schema in the search_path of the user exists; create one, or set it",
    ),
    "40": _CONFLICT,
    "42": (Fault.SETUP, "the server refuses a statement"),
    "42501": _RIGHTS,
    "42601": _UNSUPPORTED,
    "42703": _LAYOUT,
    "42804": _LAYOUT,
    "42809": _LAYOUT,
    "42883": _LAYOUT,
    "42P01": _NO_SCHEMA,
    "53": _OVERLOADED,
    "53300": _NO_CONNECTION_LEFT,
    "54": _VALUE,
    "55P03": _LOCK_WAIT,
    "57": _LOST,
    "57014": _INTERRUPTED,
    "58": _OVERLOADED,
    "XX": (Fault.UNAVAILABLE, "the server failed; look at its log"),
}
"""By SQLSTATE where it is listed, else by its first two characters, the class."""

POSTGRESQL_REFUSALS: Mapping[str, tuple[Fault, str]] = {
    "connection has been closed": _LOST,
    "SYSCALL error": _LOST,
    "SSL off": _WANTS_TLS,
    "no encryption": _WANTS_TLS,
    "SSL": _TLS,
    "certificate": _TLS,
    "too many": _NO_CONNECTION_LEFT,
    "remaining connection slots": _NO_CONNECTION_LEFT,
    "pg_hba.conf": _LOGIN,
    "authentication failed": _LOGIN,
    "no password supplied": _LOGIN,
    "is not permitted to log in": _LOGIN,
    "permission denied": _LOGIN,
    'role "': _LOGIN,
    "the database system is": (Fault.UNAVAILABLE, "the server is starting or shutting down"),
    "timeout expired": _UNREACHABLE,
    "failed to resolve host": _UNREACHABLE,
    "Connection refused": _UNREACHABLE,
    "No such file or directory": _UNREACHABLE,
    "unreachable": _UNREACHABLE,
    "No route to host": _UNREACHABLE,
}
"""By words in the message, the first that fit, because attempts to connect have no SQLSTATE."""

_UNWRITABLE = (
    Fault.SETUP,
    "the file cannot be opened and written; does its folder exist, and who may write there?",
)

SQLITE_FAULTS: Mapping[int, tuple[Fault, str]] = {
    # https://www.sqlite.org/rescode.html
    3: _UNWRITABLE,  # PERM
    4: (Fault.UNAVAILABLE, "the operation was aborted"),  # ABORT
    5: (Fault.UNAVAILABLE, "another process kept the file locked for busy_timeout_sec"),  # BUSY
    6: (Fault.UNAVAILABLE, "another process kept the file locked for busy_timeout_sec"),  # LOCKED
    7: (Fault.UNAVAILABLE, "there is no memory left"),  # NOMEM
    8: _UNWRITABLE,  # READONLY
    9: (Fault.UNAVAILABLE, "the operation was interrupted"),  # INTERRUPT
    10: (Fault.UNAVAILABLE, "reading or writing the file failed"),  # IOERR
    11: (Fault.SETUP, "the file is damaged; restore a backup"),  # CORRUPT
    13: (Fault.UNAVAILABLE, "the disk is full"),  # FULL
    14: _UNWRITABLE,  # CANTOPEN
    15: (Fault.UNAVAILABLE, "another process kept the file locked"),  # PROTOCOL
    17: (Fault.CONFLICT, "the schema kept changing"),  # SCHEMA
    18: _VALUE,  # TOOBIG
    19: _VALUE,  # CONSTRAINT
    20: _VALUE,  # MISMATCH
    22: (Fault.SETUP, "this file system does not support large files"),  # NOLFS
    23: _UNWRITABLE,  # AUTH
    26: (Fault.SETUP, "the file is not an SQLite database; choose another path"),  # NOTADB
    1555: _DUPLICATE,  # CONSTRAINT_PRIMARYKEY
    2067: _DUPLICATE,  # CONSTRAINT_UNIQUE
}
"""By extended result code where it is listed, else by its low byte, the primary code."""


class IdsTakenError(exc.SQLAlchemyError):
    """An INSERT left out the rows whose ids are taken."""


def driver_error(error: BaseException) -> BaseException:
    """The driver's own exception inside ``error``, or ``error`` itself."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        return error.orig
    return error


def translate(
    error: BaseException, fault: Fault, advice: str, *, backend: str, place: str
) -> BackendError:
    """The exception to raise ``from error``.

    Args:
        fault, advice: what the dialect says about it.
        backend: the backend's name.
        place: which server or file; must contain no secret.
    """
    own_words = " ".join(" ".join(str(part) for part in driver_error(error).args).split())
    return ERRORS[fault](f"{place}: {advice} ({own_words})", backend=backend)
