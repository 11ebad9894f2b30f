"""``futurama migrate`` and ``futurama check``."""

from __future__ import annotations

import json

from futurama.backends.memory import MemoryBackend
from tests.cli.conftest import Cli
from tests.cli.test_errors import unreachable
from tests.servers import ExternalMySQL, MariaDB, free_port


def test_migrate_makes_the_schema(cli: Cli) -> None:
    """Where instances may not create tables, ``migrate`` does, once."""
    path = str(cli.folder / "events.db")
    cli.configure(backend="sqlite", path=path, create_schema=False)
    assert "futurama migrate" in cli("stats").stderr
    first = cli("migrate")
    assert first.exit_code == 0
    assert "Created the table 'events'" in first.stdout
    assert cli.json("stats")["waiting"] == 0
    assert cli("migrate").stdout == "nothing to do\n"
    assert cli.json("migrate") == {"changes": []}


def test_backends_without_a_schema(cli: Cli) -> None:
    """A backend that has none has nothing to migrate, and is checked by opening it."""
    cli.configure(backend="memory")
    assert cli("migrate").stdout == "nothing to do\n"
    (finding,) = cli.json("check")
    assert finding == {
        "name": "connection",
        "value": f"works ({MemoryBackend.name})",
        "verdict": "ok",
        "advice": "",
    }


def test_check_of_a_good_store(cli: Cli) -> None:
    """Without a problem the exit status is 0."""
    cli.json("migrate")
    result = cli("check")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("ok\tconnection\tworks (sqlite)\t\n")


def test_check_of_mysql(cli: Cli, mysql_server: MariaDB | ExternalMySQL) -> None:
    """On MySQL the findings tell version, SKIP LOCKED, isolation, durability and clock."""
    database = mysql_server.create_database()
    cli.configure(**mysql_server.settings(database))
    cli.json("migrate")
    names = {finding["name"] for finding in cli.json("check")}
    mysql_server.drop_database(database)
    assert {
        "connection",
        "version",
        "SKIP LOCKED",
        "isolation",
        "innodb_flush_log_at_trx_commit",
        "clock",
    } <= names


def test_check_of_a_dead_host(cli: Cli, mysql_server: MariaDB | ExternalMySQL) -> None:
    """That one of several hosts is down is a problem, although another one works."""
    database = mysql_server.create_database()
    keys = mysql_server.settings(database)
    dead, alive = f"127.0.0.1:{free_port()}", f"{keys.pop('host')}:{keys.pop('port')}"
    cli.configure(**keys, hosts=f"{dead}, {alive}")
    cli.json("migrate")
    result = cli("check")
    mysql_server.drop_database(database)
    assert result.exit_code == 1
    assert f"problem\thost {dead}\tcannot be used (" in result.stdout
    assert f"ok\thost {alive}\tin use\t\n" in result.stdout


def test_problems_are_advised(cli: Cli) -> None:
    """A problem gives the exit status 1, and what to do."""
    cli.configure(**unreachable())
    result = cli("check", "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)
    assert (finding["name"], finding["verdict"]) == ("connection", "problem")
    assert "host and port" in finding["advice"]


def test_wrong_password_is_a_finding(cli: Cli, mysql_server: MariaDB | ExternalMySQL) -> None:
    """``check`` reports a wrong password as a problem, without showing it."""
    cli.configure(**{**mysql_server.settings("x"), "username": "x", "password": "s3cret"})
    result = cli("check")
    assert result.exit_code == 1
    assert result.stdout.startswith("problem\tconnection\tfailed\tmysql: x@")
    assert "s3cret" not in result.output
