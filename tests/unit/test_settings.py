"""From a flat mapping to a checked object."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from futurama import ConfigError
from futurama.settings import describe, key, load


@attrs.frozen
class Settings:
    """Keys of every type."""

    host: str = key("localhost", "where it is")
    port: int = key(3306, "which port", minimum=1, maximum=65535)
    timeout_sec: float = key(1.0, "how long to wait", unit="s", minimum=0, maximum=1000)
    ssl: bool = key(default=False, doc="encrypt")
    ca: str | None = key(None, "a file")
    password: str = key("", "the password", secret=True)
    mode: str = key("fast", "how", choices=("fast", "slow"))


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"host": "h"}, "host", "h"),
        ({"port": 1}, "port", 1),
        ({"port": 65535}, "port", 65535),
        ({"timeout_sec": 2.5}, "timeout_sec", 2.5),
        ({"timeout_sec": 2}, "timeout_sec", 2.0),
        ({"timeout_sec": 0}, "timeout_sec", 0.0),
        ({"ssl": True}, "ssl", True),
        ({"ca": None}, "ca", None),
        ({"ca": "f"}, "ca", "f"),
        ({"mode": "slow"}, "mode", "slow"),
        ({}, "port", 3306),
    ],
)
def test_right_values(values: dict[str, Any], field: str, expected: Any) -> None:
    """Right values arrive with the type of their key, absent ones as the default."""
    found = getattr(load(Settings, values), field)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"host": 1}, "'host' must be a string, got 1 (int)"),
        ({"host": None}, "'host' must be a string, got None (NoneType)"),
        ({"port": "3306"}, "'port' must be an integer, got '3306' (str)"),
        ({"port": 3306.0}, "'port' must be an integer, got 3306.0 (float)"),
        ({"port": True}, "'port' must be an integer, got True (bool)"),
        ({"port": 0}, "'port' must be at least 1, got 0"),
        ({"port": 65536}, "'port' must be at most 65535, got 65536"),
        ({"timeout_sec": "1"}, "'timeout_sec' must be a number, got '1' (str)"),
        ({"timeout_sec": True}, "'timeout_sec' must be a number, got True (bool)"),
        ({"timeout_sec": -0.1}, "'timeout_sec' must be at least 0, got -0.1"),
        ({"timeout_sec": float("nan")}, "'timeout_sec' must be at least 0, got nan"),
        ({"timeout_sec": float("inf")}, "'timeout_sec' must be at most 1000, got inf"),
        ({"timeout_sec": 10**400}, "'timeout_sec' must be at most 1000"),
        ({"ssl": 1}, "'ssl' must be true or false, got 1 (int)"),
        ({"ssl": "yes"}, "'ssl' must be true or false, got 'yes' (str)"),
        ({"ca": 5}, "'ca' must be a string or null, got 5 (int)"),
        ({"host": ["h"]}, "'host' must be a string, got ['h'] (list)"),
        ({"mode": "Slow"}, "'mode' must be one of fast, slow, got 'Slow'"),
        ({"prot": 1}, "unknown configuration key 'prot' (value 1): did you mean 'port'?"),
        ({"zzz": 1}, "known keys are ca, host, mode, password, port, ssl, timeout_sec"),
    ],
)
def test_wrong_values(values: dict[str, Any], message: str) -> None:
    """A wrong value names the key, the value, its type, and what would be right."""
    with pytest.raises(ConfigError) as info:
        load(Settings, values)
    assert message in str(info.value)
    assert info.value.key == next(iter(values))


SECRET = "correct horse battery staple"


@pytest.mark.parametrize(
    "name",
    ["passwrd", "pasword", "pass", "passwd", "Password", "PASSWORD", "pw", "pwd", "db_pass",
     "mysql_password", "MYSQL_PWD", "secret", "credentials", "user_password", "passphrase"],
)  # fmt: skip
def test_a_misspelt_secret_is_not_shown(name: str) -> None:
    """However the key of a secret is misspelt, its value does not appear."""
    with pytest.raises(ConfigError, match=name) as info:
        load(Settings, {name: SECRET})
    assert SECRET not in str(info.value)


def test_a_nested_secret_is_not_shown() -> None:
    """Who nests the keys of the database sees the mistake, and nobody sees the password."""
    with pytest.raises(ConfigError, match="unknown configuration key 'database'") as info:
        load(Settings, {"database": {"host": "h", "password": SECRET}})
    assert SECRET not in str(info.value)


@pytest.mark.parametrize("value", [1234567, ["geheim"], None, b"geheim"])
def test_a_secret_of_the_wrong_type_is_not_shown(value: Any) -> None:
    """The type of a secret can be wrong; what it is stays secret."""
    with pytest.raises(ConfigError, match=r"'password' must be a string, got \*\*\*") as info:
        load(Settings, {"password": value})
    assert str(value) not in str(info.value).replace("NoneType", "")


def test_repr_shows_no_secret() -> None:
    """Neither ``repr`` nor ``str`` of settings shows a secret."""
    settings = load(Settings, {"password": SECRET})
    assert SECRET not in repr(settings) + str(settings)
    assert settings.password == SECRET


def test_keys_of_others_are_suggested() -> None:
    """A misspelt key may have meant one of the core's."""
    with pytest.raises(ConfigError, match="did you mean 'max_retry'"):
        load(Settings, {"maxretry": 1}, also_known=["max_retry"])


def test_documentation() -> None:
    """Every key is described: name, type, default, unit, sentence."""
    assert ("timeout_sec", "a number", 1.0, "s", "how long to wait") in describe(Settings)
    assert len(describe(Settings)) == 7
