"""From the codes of drivers and servers to the classes of :mod:`futurama.errors`, in one place."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import Enum

from sqlalchemy import exc

from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
    EventsLockedError,
    OutcomeUnknownError,
)

__all__ = [
    "MYSQL_FAULTS",
    "MYSQL_LOST_IN_TLS",
    "MYSQL_ROLLED_BACK",
    "MYSQL_UNCLEAR_AT_COMMIT",
    "POSTGRESQL_FAULTS",
    "POSTGRESQL_REFUSALS",
    "POSTGRESQL_ROLLED_BACK",
    "SQLITE_FAULTS",
    "Fault",
    "IdsTakenError",
    "driver_error",
    "own_words",
    "translate",
]


class Fault(Enum):
    """What kind of trouble an error code means, before it is an exception of ours."""

    DUPLICATE = "duplicate"
    """A key is taken: the transaction looks at what is stored and decides again."""
    CONFLICT = "conflict"
    """The server chose this transaction as the victim: the whole of it is repeated at once."""
    LOCK_WAIT = "lock wait"
    """A lock was not free for long."""
    UNAVAILABLE = "unavailable"
    """Not now."""
    CAPACITY = "capacity"
    """Not now: there is too little of something, or too much asked for at once."""
    LOST = "lost"
    """The connection has ended."""
    MOVED = "moved"
    """This server does not take writes any more, another one does: not on this connection."""
    AMBIGUOUS = "ambiguous"
    """Not even the server knows whether the transaction was committed."""
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
    Fault.LOCK_WAIT: EventsLockedError,
    Fault.UNAVAILABLE: BackendUnavailableError,
    Fault.CAPACITY: BackendUnavailableError,
    Fault.LOST: BackendUnavailableError,
    Fault.AMBIGUOUS: OutcomeUnknownError,
    Fault.MOVED: BackendUnavailableError,
    Fault.MISSING: BackendSetupError,
    Fault.UNSUPPORTED: BackendSetupError,
    Fault.SETUP: BackendSetupError,
    Fault.REJECTED: BackendRejectedError,
}
"""What a fault becomes when repeating the transaction did not help."""

_UNREACHABLE = (
    Fault.UNAVAILABLE,
    "cannot reach the server; is it running, and are the keys host and port, or hosts, right?",
)
_LOST = (Fault.LOST, "the connection was lost")
_AMBIGUOUS = (Fault.AMBIGUOUS, "whether the transaction was committed is unknown")
_FAILED = (Fault.UNAVAILABLE, "the server failed; look at its error log")
_OVERLOADED = (Fault.CAPACITY, "the server is short of something; look at its error log")
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
    Fault.CAPACITY,
    "the server has no connection left; lower max_open_connection",
)
_LOCK_WAIT = (Fault.LOCK_WAIT, "a lock was not free within lock_wait_timeout_sec")

_CLIENT_SHORT = (Fault.CAPACITY, "this machine is short of memory or sockets")
_TOO_LONG = (Fault.REJECTED, "a statement is too long; raise max_allowed_packet on the server")
_TOO_LARGE = (Fault.CAPACITY, "a transaction is too large; use smaller batches, or raise the limit")
_OTHER_PROTOCOL = (Fault.SETUP, "driver and server do not understand each other; upgrade one")
_BLOCKED = (
    Fault.UNAVAILABLE,
    (
        "the server has blocked this machine; run FLUSH HOSTS there, or TRUNCATE "
        "performance_schema.host_cache"
    ),
)
_BUSY_CLUSTER = (Fault.UNAVAILABLE, "a part of the cluster is out of reach or busy; look at it")
_NOT_REPLICABLE = (
    Fault.SETUP,
    "the cluster refuses to replicate the table; it needs InnoDB and a primary key, so create it anew",
)

MYSQL_FAULTS: Mapping[int, tuple[Fault, str]] = {
    # Of the client: "Client Error Message Reference" of MySQL 8.4, pymysql.constants.CR
    0: _LOST,  # InterfaceError of PyMySQL: the connection is closed
    2000: _LOST,  # UNKNOWN_ERROR
    2001: _CLIENT_SHORT,  # SOCKET_CREATE_ERROR
    2002: _UNREACHABLE,
    2003: _UNREACHABLE,
    2004: _CLIENT_SHORT,  # IPSOCK_ERROR
    2005: _UNREACHABLE,
    2006: _LOST,
    2007: _OTHER_PROTOCOL,  # VERSION_ERROR
    2008: _CLIENT_SHORT,  # OUT_OF_MEMORY
    2012: _LOST,  # SERVER_HANDSHAKE_ERR
    2013: _LOST,
    2014: _LOST,
    2019: _OTHER_PROTOCOL,  # CANT_READ_CHARSET
    2020: _TOO_LONG,  # NET_PACKET_TOO_LARGE
    2026: _TLS,
    2027: _LOST,
    2047: _OTHER_PROTOCOL,  # CONN_UNKNOW_PROTOCOL
    2048: _LOST,  # INVALID_CONN_HANDLE
    2049: _LOGIN,  # SECURE_AUTH
    2054: _OTHER_PROTOCOL,  # NOT_IMPLEMENTED
    2055: _LOST,
    2058: _LOST,  # ALREADY_CONNECTED
    2059: _LOGIN,  # AUTH_PLUGIN_CANNOT_LOAD
    2061: _LOGIN,  # AUTH_PLUGIN_ERR
    # Of the server: "Server Error Message Reference" of MySQL 8.4, "MariaDB Error Codes"
    1020: _CONFLICT,
    1021: _OVERLOADED,
    1024: _FAILED,  # ERROR_ON_READ
    1026: _FAILED,  # ERROR_ON_WRITE
    1028: _INTERRUPTED,  # FILSORT_ABORT
    1030: _OVERLOADED,
    1034: _FAILED,  # NOT_KEYFILE
    1035: _FAILED,  # OLD_KEYFILE
    1036: _MOVED,  # OPEN_AS_READONLY
    1037: _OVERLOADED,
    1038: _OVERLOADED,
    1040: _NO_CONNECTION_LEFT,
    1041: _OVERLOADED,
    1042: _UNREACHABLE,
    1043: _UNREACHABLE,
    1044: _LOGIN,
    1045: _LOGIN,
    1047: _MOVED,  # Galera: this node has lost the others, or is still catching up with them
    1049: _NO_SCHEMA,
    1053: _MOVED,
    1054: _LAYOUT,
    1062: _DUPLICATE,
    1064: _UNSUPPORTED,
    1077: _LOST,  # NORMAL_SHUTDOWN
    1079: _LOST,  # SHUTDOWN_COMPLETE
    1080: _LOST,  # FORCING_CLOSE
    1105: _FAILED,  # UNKNOWN_ERROR, which stands for many things in Galera, TiDB and Vitess
    1114: _OVERLOADED,
    1118: _VALUE,
    1129: _BLOCKED,
    1130: _LOGIN,
    1135: _OVERLOADED,  # CANT_CREATE_THREAD
    1142: _RIGHTS,
    1143: _RIGHTS,
    1146: _NO_SCHEMA,
    1152: _LOST,
    1153: _TOO_LONG,
    1154: _LOST,  # NET_READ_ERROR_FROM_PIPE
    1155: _LOST,  # NET_FCNTL_ERROR
    1156: _LOST,  # NET_PACKETS_OUT_OF_ORDER
    1157: _LOST,  # NET_UNCOMPRESS_ERROR
    1158: _LOST,
    1159: _LOST,
    1160: _LOST,
    1161: _LOST,
    1180: _AMBIGUOUS,  # ERROR_DURING_COMMIT
    1181: _LOST,  # ERROR_DURING_ROLLBACK
    1184: _LOST,  # NEW_ABORTING_CONNECTION
    1193: _UNSUPPORTED,
    1197: _TOO_LARGE,  # TRANS_CACHE_FULL
    1203: (Fault.CAPACITY, "the user has no connection left; lower max_open_connection"),
    1205: _LOCK_WAIT,
    1206: _OVERLOADED,
    1213: _CONFLICT,
    1226: (Fault.CAPACITY, "the user has used up a limit of the server"),
    1227: _RIGHTS,
    1231: _UNSUPPORTED,
    1235: _UNSUPPORTED,
    1251: _LOGIN,  # NOT_SUPPORTED_AUTH_MODE
    1264: _VALUE,
    1275: _LOGIN,  # SERVER_IS_IN_SECURE_AUTH_MODE
    1290: _MOVED,
    1292: _VALUE,
    1317: _INTERRUPTED,
    1364: _LAYOUT,  # NO_DEFAULT_FOR_FIELD
    1366: _VALUE,
    1369: _VALUE,  # VIEW_CHECK_FAILED
    1370: _RIGHTS,
    1406: _VALUE,
    1524: _LOGIN,
    1526: _VALUE,  # NO_PARTITION_FOR_GIVEN_VALUE
    1637: _OVERLOADED,
    1644: _VALUE,  # SIGNAL_EXCEPTION, of a trigger
    1689: _CONFLICT,  # LOCK_ABORTED: DDL comes first
    1690: _VALUE,  # DATA_OUT_OF_RANGE
    1698: _LOGIN,
    1792: _MOVED,
    1820: _LOGIN,
    1836: _MOVED,
    1862: _LOGIN,
    1874: _MOVED,  # INNODB_READ_ONLY
    1878: _OVERLOADED,  # TEMP_FILE_WRITE_FAILURE
    1881: _MOVED,  # INNODB_FORCED_RECOVERY
    1927: _LOST,
    1969: _INTERRUPTED,
    3024: _INTERRUPTED,
    3032: _MOVED,  # SERVER_OFFLINE_MODE
    3098: _NOT_REPLICABLE,  # BEFORE_DML_VALIDATION_ERROR
    3100: _MOVED,
    3101: _CONFLICT,  # TRANSACTION_ROLLBACK_DURING_COMMIT
    3118: _LOGIN,
    3159: _WANTS_TLS,
    3168: _FAILED,  # SERVER_ISNT_AVAILABLE
    3169: _LOST,  # SESSION_WAS_KILLED
    3170: _OVERLOADED,  # CAPACITY_EXCEEDED
    3231: _TOO_LARGE,  # WRITE_SET_EXCEEDS_LIMIT
    3796: _MOVED,  # GRP_TRX_CONSISTENCY_NOT_ALLOWED: this member has left the group
    3797: _BUSY_CLUSTER,  # GRP_TRX_CONSISTENCY_BEFORE
    3798: _BUSY_CLUSTER,  # GRP_TRX_CONSISTENCY_AFTER_ON_TRX_BEGIN
    3799: _MOVED,  # GRP_TRX_CONSISTENCY_BEGIN_NOT_ALLOWED: this member is leaving the group
    3819: _VALUE,  # CHECK_CONSTRAINT_VIOLATED of MySQL
    4025: _VALUE,  # CONSTRAINT_FAILED of MariaDB
    4031: _LOST,
    4151: _LOGIN,
    # Of TiDB: https://docs.pingcap.com/tidb/stable/error-codes
    8001: _OVERLOADED,
    8002: _CONFLICT,
    8004: _TOO_LARGE,
    8005: _CONFLICT,
    8022: _CONFLICT,
    8025: _VALUE,  # one key with its value is too long
    8027: _BUSY_CLUSTER,
    8028: _CONFLICT,
    8501: _AMBIGUOUS,
    9001: _BUSY_CLUSTER,
    9002: _BUSY_CLUSTER,
    9003: _BUSY_CLUSTER,
    9004: _BUSY_CLUSTER,
    9005: _BUSY_CLUSTER,
    9006: _BUSY_CLUSTER,
    9007: _CONFLICT,
    9010: _BUSY_CLUSTER,
}
"""By the number that drivers give."""

MYSQL_LOST_IN_TLS = (
    "unexpected eof",
    *(f"({number})" for number in (errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT)),
)
"""Words in a 2026 of the C library that mean no more than that the connection ended, or the server said
nothing, while TLS was being agreed on."""

MYSQL_ROLLED_BACK: Mapping[int, str] = {
    1205: "ha_commit_trans of sql/handler.cc rolls back if FLUSH TABLES WITH READ LOCK or a backup "
    "keeps the lock on commits for longer than lock_wait_timeout",
    1213: "Galera: the certification failed, or what another node committed came first; "
    "wsrep_override_error of sql/wsrep_trans_observer.h sets it after the rollback",
    1290: "ha_commit_trans of sql/handler.cc rolls back if the server became read-only meanwhile",
    3101: "Group Replication: the certification failed, so every member has discarded it",
    8002: "TiDB rolls back and says that the application can safely retry the whole transaction",
    8022: "TiDB has rolled back and says that the application can safely retry the whole transaction",
    9007: "TiDB found another's write when it prepared the commit",
}
"""The errors of COMMIT after which it is certain that nothing was committed, and why.

After all others it is unknown. In particular 1180, with which Galera also reports that it lost the
other nodes after it had sent them the transaction (Group Replication uses it for some conflicts, with
149 in the text, but one number cannot be both); 1047, which a node gives whose transaction may be
committed by the others; 3100, where a member may have left while the group was deciding; 1105, which
has no meaning; and whatever ends a connection.
"""

MYSQL_UNCLEAR_AT_COMMIT = frozenset({3100})
"""The errors that mean ``Fault.MOVED`` unless they come from COMMIT.

From there 3100, with which Group Replication says that one of its hooks failed, may as well mean that the
transaction is larger than ``group_replication_transaction_size_limit``: then the server is well.
"""

POSTGRESQL_FAULTS: Mapping[str, tuple[Fault, str]] = {
    # https://www.postgresql.org/docs/current/errcodes-appendix.html
    "08": _LOST,
    "08001": _UNREACHABLE,
    "08004": _UNREACHABLE,
    "08007": _AMBIGUOUS,
    "0A": _UNSUPPORTED,
    "22": _VALUE,
    "23": _VALUE,
    "23505": _DUPLICATE,
    "25": _FAILED,
    "25006": _MOVED,
    "25P03": _LOST,
    "25P04": _LOST,
    "28": _LOGIN,
    "3D000": _NO_SCHEMA,
    "3F000": (
        Fault.SETUP,
        "no schema in the search_path of the user exists; create one, or set it",
    ),
    "40": _CONFLICT,
    "40003": _AMBIGUOUS,
    "42": (Fault.SETUP, "the server refuses a statement"),
    "42501": _RIGHTS,
    "42601": _UNSUPPORTED,
    "42703": _LAYOUT,
    "42804": _LAYOUT,
    "42809": _LAYOUT,
    "42883": _LAYOUT,
    "42P01": _NO_SCHEMA,
    "44": _VALUE,
    "53": _OVERLOADED,
    "53300": _NO_CONNECTION_LEFT,
    "54": _VALUE,
    "55": _FAILED,
    "55P03": _LOCK_WAIT,
    "57": _LOST,
    "57014": _INTERRUPTED,
    "57P03": (Fault.UNAVAILABLE, "the server is starting or shutting down"),
    "57P04": _NO_SCHEMA,
    "58": _FAILED,
    "72": _CONFLICT,
    "F0": (Fault.SETUP, "the server's configuration is wrong; look at its log"),
    "P0": _VALUE,  # of PL/pgSQL, in a trigger
    "XX": _FAILED,
}
"""By SQLSTATE where it is listed, else by its first two characters, the class."""

POSTGRESQL_ROLLED_BACK: Mapping[str, str] = {
    "40001": "the server found at COMMIT that the transactions cannot be put into an order",
    "40P01": "the transaction was the victim of a deadlock",
}
"""The errors of COMMIT after which it is certain that nothing was committed, and why.

So it is after those that concern a row: constraints and triggers that were deferred run before anything
is committed. After all others it is unknown, 40003 and 08007 included, which say just that.
"""

POSTGRESQL_REFUSALS: Mapping[str, tuple[Fault, str]] = {
    "connection has been closed": _LOST,
    "SYSCALL error": _LOST,
    "unexpected eof": _LOST,
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
    7: (Fault.CAPACITY, "there is no memory left"),  # NOMEM
    8: _UNWRITABLE,  # READONLY
    9: (Fault.UNAVAILABLE, "the operation was interrupted"),  # INTERRUPT
    10: (Fault.UNAVAILABLE, "reading or writing the file failed"),  # IOERR
    11: (Fault.SETUP, "the file is damaged; restore a backup"),  # CORRUPT
    13: (Fault.CAPACITY, "the disk is full"),  # FULL
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
    return ERRORS[fault](f"{place}: {advice} ({own_words(error)})", backend=backend)


def own_words(error: BaseException) -> str:
    """What the driver says, on one line."""
    return " ".join(" ".join(str(part) for part in driver_error(error).args).split())
