"""What the backends on SQL databases share; one module per member beside this package.

* ``statements``: the table and every statement of the shared operations, in one place.
* ``dialect``: what a member has to say about its database; the seam for further members.
* ``server``: what the members that talk to a server share.
* ``hosts``: which of several servers is spoken to.
* ``errors``: from the codes of drivers and servers to the classes of ``futurama.errors``.
* ``transactions``: connections, one short transaction per call, repeats, forks.
* ``schema``: creating, checking and upgrading the table.
* ``pages``: looking at events.
* ``rows``: reading and writing rows by primary key.
* ``owners``: numbers for the names of those who claim.
* ``looking``: seeing what is due.
* ``adding``, ``claiming``, ``settling``: the operations that take more than a few lines.
* ``backend``: all operations.
* ``mysql_settings``, ``mysql_session``, ``mysql_values``, ``mysql_driver`` and the drivers ``pymysql_driver`` and
  ``mysqldb_driver``: what MySQL has more of than one driver.
* ``*_diagnosis``: how well a server is set up.
"""

from __future__ import annotations

from futurama.backends.sql.backend import SQLBackend
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.server import ServerDialect, ServerSettings

__all__ = ["Dialect", "SQLBackend", "ServerDialect", "ServerSettings"]
