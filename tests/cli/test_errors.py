"""Whatever goes wrong is one clear line, without a traceback, and leaves nothing behind."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from futurama.cli.app import app
from tests.cli.conftest import Cli, assert_one_error
from tests.servers import ExternalMySQL, MariaDB

COMMANDS: dict[str, tuple[str, ...]] = {
    "demo": ("demo", "--events", "1"),
    "run": ("run",),
    "create": ("create", "http", "now"),
    "cancel": ("cancel", "a"),
    "requeue": ("requeue", "a"),
    "show": ("show", "a"),
    "list": ("list",),
    "stats": ("stats",),
    "migrate": ("migrate",),
    "check": ("check",),
}

every_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
connecting_commands = pytest.mark.parametrize(
    "command", [value for name, value in COMMANDS.items() if name != "check"], ids=str
)


def unreachable() -> dict[str, Any]:
    """The configuration of a server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "username": "dev",
        "password": "s3cret",
        "host": "127.0.0.1",
        "port": port,
        "operation_timeout_sec": 0,
    }


def test_every_command_is_tested() -> None:
    """The list of commands above is complete, and in the order of the help."""
    assert list(app.commands) == list(COMMANDS)


@every_command
def test_missing_configuration(cli: Cli, command: tuple[str, ...]) -> None:
    """A configuration file that does not exist is named."""
    cli.config.unlink()
    assert_one_error(cli(*command), "cannot read the configuration file", "queue.json")


@every_command
def test_misspelt_key(cli: Cli, command: tuple[str, ...]) -> None:
    """A misspelt key names the right one."""
    cli.configure(backend="sqlite", pat=str(cli.folder / "events.db"))
    assert_one_error(cli(*command), "unknown configuration key 'pat'", "did you mean 'path'?")
    assert cli.files() == []


@every_command
def test_table_name_with_a_quote(cli: Cli, command: tuple[str, ...]) -> None:
    """A table name that could be anything else is refused before anything is opened."""
    cli.configure(backend="sqlite", path=str(cli.folder / "events.db"), table_name='a"b')
    assert_one_error(cli(*command), "'table_name'", 'a"b')
    assert cli.files() == []


@connecting_commands
def test_unreachable_host(cli: Cli, command: tuple[str, ...]) -> None:
    """A server that is not there is named, and what to look at; its password is not."""
    keys = unreachable()
    cli.configure(**keys)
    result = cli(*command)
    assert_one_error(result, f"dev@127.0.0.1:{keys['port']}", "cannot reach the server")
    assert "s3cret" not in result.stderr
    assert cli.files() == []


@connecting_commands
def test_wrong_password(
    cli: Cli, mysql_server: MariaDB | ExternalMySQL, command: tuple[str, ...]
) -> None:
    """A wrong password says so without showing it, and no database is made."""
    database = f"nothing_{len(command)}"
    cli.configure(**{**mysql_server.settings(database), "username": "x", "password": "s3cret"})
    result = cli(*command)
    assert_one_error(result, "mysql: ", "x@", "password")
    assert "s3cret" not in result.stderr
    assert mysql_server.execute("SHOW DATABASES LIKE %s", database) == []


def test_naive_time(cli: Cli) -> None:
    """A time without an offset is refused with a better one, before anything is opened."""
    result = cli("create", "http", "2030-01-31T18:00:00")
    assert_one_error(result, "'2030-01-31T18:00:00'", "2030-01-31T18:00:00+01:00", "Z for UTC")
    assert cli.files() == []


@pytest.mark.parametrize("data", ["{a: 1}", "{'a': 1}", "", "NaN", "[1,", "[" * 100_000])
def test_data_that_is_not_json(cli: Cli, data: str) -> None:
    """DATA that is not JSON is refused, before anything is opened."""
    assert_one_error(cli("create", "http", "now", data), "JSON")
    assert cli.files() == []


def test_file_that_is_not_json(cli: Cli, tmp_path: Path) -> None:
    """The same for a file, even one that is no text."""
    (tmp_path / "data").write_bytes(b"\xff\x00\xfe")
    assert_one_error(cli("create", "http", "now", f"@{tmp_path / 'data'}"), "DATA is not JSON")
    assert cli.files() == ["data"]


def test_file_that_does_not_exist(cli: Cli) -> None:
    """A file that is not there is named."""
    assert_one_error(cli("create", "http", "now", "@nowhere.json"), "nowhere.json: No such file")
    assert cli.files() == []


@pytest.mark.parametrize(
    "command",
    [("create", "http", "now", "--id", "ü" * 100), ("cancel", "ü" * 100), ("show", "ü" * 100)],
    ids=str,
)
def test_over_long_id(cli: Cli, command: tuple[str, ...]) -> None:
    """An id that is too long is refused with its length, before anything is opened."""
    assert_one_error(cli(*command), "id must have 1 to 128 bytes", "has 200")
    assert cli.files() == []


@pytest.mark.parametrize("command", [("create", "", "now"), ("list", "--type", "")], ids=str)
def test_impossible_type(cli: Cli, command: tuple[str, ...]) -> None:
    """A trigger type that cannot be one is refused, before anything is opened."""
    assert_one_error(cli(*command), "trigger_type must have 1 to 128 bytes")
    assert cli.files() == []


def test_too_much_data(cli: Cli) -> None:
    """Data beyond the backend's limit is refused with both sizes, and nothing is stored."""
    cli.configure(backend="sqlite", path=str(cli.folder / "events.db"), max_data_bytes=10)
    assert_one_error(cli("create", "http", "now", '"0123456789"'), "12 bytes", "at most 10")
    with cli.backend() as backend:
        assert sum(backend.count().values()) == 0


def test_foreign_page(cli: Cli) -> None:
    """A PAGE that no command has printed is refused."""
    assert_one_error(cli("list", "--after", "x"), "'x'", "start again")


def test_configuration_of_the_go_original(cli: Cli) -> None:
    """The example of the original loads: what fails is only that its host is not there."""
    cli.configure(**{**unreachable(), "mysql6": False})
    assert_one_error(cli("stats"), "cannot reach the server")


def test_help_of_every_command() -> None:
    """Every command explains itself, and the group lists them all."""
    runner = CliRunner()
    overview = runner.invoke(app, ["--help"])
    for name in COMMANDS:
        assert f"\n  {name} " in overview.stdout
        explained = runner.invoke(app, [name, "--help"])
        assert explained.exit_code == 0
        assert "--config FILE" in explained.stdout


def test_unknown_command() -> None:
    """A command that there is not is a wrong usage."""
    result = CliRunner().invoke(app, ["creat"])
    assert result.exit_code == 2
    assert "No such command 'creat'" in result.stderr


@pytest.mark.parametrize("package", ["click", "rich"])
def test_missing_packages_are_named(package: str) -> None:
    """Without what the command line needs it says in one line what to install."""
    code = f"import sys; sys.modules[{package!r}] = None; import futurama.cli as c; c.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: the command line needs {package}")
    assert done.stderr.endswith('pip install "futurama[cli]"\n')
    assert done.stderr.count("\n") == 1


def test_readers_may_leave(cli: Cli) -> None:
    """Whoever reads the output may stop reading: no traceback."""
    cli.json("create", "http", "now")
    command = [sys.executable, "-m", "futurama.cli", "list", "--config", str(cli.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_errors_are_one_line(cli: Cli) -> None:
    """Even a message with line breaks is one line."""
    cli.config.write_text(json.dumps({"a\nb": 1}), encoding="utf-8")
    assert_one_error(cli("stats"))
