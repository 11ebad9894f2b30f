"""The configuration: one flat JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from futurama import Config, ConfigError, UnknownBackendError
from futurama.backends.memory import MemoryBackend
from futurama.settings import describe

CORE = {field.name: field for field in attrs.fields(Config) if field.name != "backend_options"}
SECRET = "correct horse battery staple"
WRONG = {str: 7, int: "7", float: "7"}


def written(path: Path, text: str) -> Path:
    """A file with this text."""
    path.write_text(text, encoding="utf-8")
    return path


def test_the_go_originals_example_loads(tmp_path: Path) -> None:
    """What users of the Go original have in their files still works."""
    path = written(
        tmp_path / "config.json",
        '{"mysql6": false, "username": "dev", "password": "' + SECRET + '", "host": "example.com"}',
    )
    config = Config.from_file(path)
    assert config.backend == "mysql"
    assert config.backend_options["host"] == "example.com"
    assert SECRET not in repr(config) + str(config)
    assert "'***'" in repr(config)


def test_all_keys_of_the_go_original() -> None:
    """Each of them is accepted."""
    Config.from_mapping(
        {
            "mysql6": True, "username": "u", "password": "p", "host": "h", "port": 3306,
            "db_name": "d", "table_name": "t", "max_open_connection": 5, "queue_name": "q",
            "consumer_lock_timeout_sec": 31, "consumer_time_window_sec": 1,
            "consumer_select_limit": 100, "consumer_sleep_msec": 100,
            "max_scheduled_events": 10000, "max_retry": 18, "stat_interval_sec": 0,
        }
    )  # fmt: skip


def test_name_of_an_instance_can_be_stored() -> None:
    """It has at most 128 bytes of UTF-8, as every backend stores it."""
    assert Config(queue_name="é" * 64).queue_name == "é" * 64
    for name in ("é" * 64 + "e", "\ud800"):
        with pytest.raises(ConfigError, match="'queue_name' must be text of at most 128 bytes"):
            Config(queue_name=name)


def test_defaults_are_those_of_the_design() -> None:
    """MySQL at 127.0.0.1:3306, a lease of 31 s, a look every 100 ms, 18 retries ..."""
    config = Config()
    assert (config.backend, config.consumer_lock_timeout_sec, config.consumer_sleep_msec) == (
        "mysql", 31, 100,
    )  # fmt: skip
    assert (config.max_scheduled_events, config.max_retry, config.stat_interval_sec) == (
        10_000, 18, 0,
    )  # fmt: skip
    assert config.consumer_time_window_sec == 0.25
    assert config.dead_letter_days == 7
    assert config == Config.from_mapping({})
    shown = repr(Config(host="127.0.0.1"))
    for part in ("host='127.0.0.1'", "port=3306", "username='root'", "db_name='futurama'",
                 "table_name='events'"):  # fmt: skip
        assert part in shown


@pytest.mark.parametrize("name", CORE)
def test_wrong_types(name: str) -> None:
    """Each key refuses a value of another type, by name."""
    kind = type(CORE[name].default)
    with pytest.raises(ConfigError, match=f"'{name}' must be .*, got {WRONG[kind]!r}") as info:
        Config(**{"backend": "memory", name: WRONG[kind]})
    assert info.value.key == name


@pytest.mark.parametrize("name", [n for n, f in CORE.items() if type(f.default) in {int, float}])
def test_no_number_is_below_the_minimum(name: str) -> None:
    """P8: each number has a least value; NaN, infinities and negative ones are refused."""
    for value in (-1, *([float("nan"), float("inf")] if type(CORE[name].default) is float else [])):
        with pytest.raises(ConfigError, match=f"'{name}' must be at (least|most)"):
            Config(**{"backend": "memory", name: value})


def test_every_key_is_documented() -> None:
    """Each key has a sentence; each that measures something has a unit."""
    described = {name: (unit, doc) for name, _, _, unit, doc in describe(Config)}
    assert described.keys() == CORE.keys()
    for name, (unit, doc) in described.items():
        assert doc
        if name.endswith(("_sec", "_msec", "_days")):
            assert unit in {"s", "ms", "days"}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("max_retries", "max_retry"),
        ("consumer_sleep_sec", "consumer_sleep_msec"),
        ("consumer_timeout_sec", "consumer_lock_timeout_sec"),
        ("max_data_byte", "max_data_bytes"),
        ("backnd", "backend"),
        ("limit", "consumer_select_limit"),
        ("Lease", "consumer_lock_timeout_sec"),
    ],
)
def test_a_misspelt_key_names_the_right_one(wrong: str, right: str) -> None:
    """Keys of the core and of the backend are suggested alike."""
    with pytest.raises(ConfigError, match=f"unknown .*'{wrong}'.*did you mean '{right}'"):
        Config.from_mapping({"backend": "memory", wrong: 1})


def test_what_others_call_a_key() -> None:
    """A name of another tool leads to the key of the chosen backend, and nowhere without one."""
    with pytest.raises(ConfigError, match="did you mean 'db_name'"):
        Config(backend="mysql", database="events")
    with pytest.raises(ConfigError, match="'database'") as info:
        Config(backend="memory", database="events")
    assert "db_name" not in str(info.value)


@pytest.mark.parametrize("name", ["pasword", "Password", "pw", "passphrase", "PASSWD"])
def test_a_misspelt_password_is_not_shown(name: str) -> None:
    """A password under a wrong key does not get into a log."""
    with pytest.raises(ConfigError, match=name) as info:
        Config.from_mapping({name: SECRET})
    assert SECRET not in str(info.value)


def test_the_text_of_a_config_is_not_shown() -> None:
    """Who passes the text of a file instead of its object does not see the password in the error."""
    with pytest.raises(ConfigError, match=r"must be a mapping.*str") as info:
        Config.from_mapping(json.dumps({"password": SECRET}))  # type: ignore[arg-type]  # the mistake
    assert SECRET not in str(info.value)


def test_keys_must_be_text() -> None:
    """JSON cannot express other keys, mappings of Python can."""
    with pytest.raises(ConfigError, match="keys must be str, got 1"):
        Config.from_mapping({1: 2})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", "line 1, column 2"),
        ('{\n "port": ?\n}', "line 2, column 10"),
        ("[1]", "must contain one JSON object, got list"),
        ("null", "must contain one JSON object, got NoneType"),
        ('{"host": "a", "host": "b"}', "'host' is given twice"),
        ('{"password": "' + SECRET + '", "password": "x"}', "'password' is given twice"),
        ('{"password": "' + SECRET + '",,}', "is not JSON"),
        ('{"consumer_lock_timeout_sec": NaN}', "at least 0.5, got nan"),
        ('{"consumer_lock_timeout_sec": Infinity}', "at most"),
        ('{"consumer_lock_timeout_sec": 1e999}', "at most"),
        ('{"consumer_lock_timeout_sec": 1' + "0" * 400 + "}", "at most"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    """A file that is not a configuration gives one clear error, without secrets."""
    with pytest.raises(ConfigError, match=message) as info:
        Config.from_file(written(tmp_path / "config.json", text))
    assert SECRET not in str(info.value)


def test_unreadable_files(tmp_path: Path) -> None:
    """A file that is missing, a folder, or not UTF-8 is named in the error."""
    binary = tmp_path / "binary.json"
    binary.write_bytes(b'{"host": "\xff"}')
    for path in (tmp_path / "missing.json", tmp_path, binary):
        with pytest.raises(ConfigError, match="cannot read the configuration file") as info:
            Config.from_file(path)
        assert str(path) in str(info.value)


def test_the_look_ahead_is_well_within_the_lease() -> None:
    """P3: a look-ahead of more than a third of the lease is refused, exactly a third is not."""
    Config(backend="memory", consumer_lock_timeout_sec=3, consumer_time_window_sec=1)
    with pytest.raises(ConfigError, match="a third of 'consumer_lock_timeout_sec'") as info:
        Config(backend="memory", consumer_lock_timeout_sec=3, consumer_time_window_sec=1.01)
    assert info.value.key == "consumer_time_window_sec"


def test_keys_of_the_backend() -> None:
    """Keys of the backend reach it, and are checked when the configuration is made."""
    backend = Config(backend="memory", max_data_bytes=10).make_backend()
    assert isinstance(backend, MemoryBackend)
    assert backend.capabilities.max_data_bytes == 10
    with pytest.raises(ConfigError, match="'max_data_bytes' must be at least 1"):
        Config(backend="memory", max_data_bytes=0)
    with pytest.raises(
        ConfigError, match="unknown configuration key 'host' of the backend 'memory'"
    ):
        Config(backend="memory", host="x")


SERVERS = pytest.mark.parametrize("backend", ["mysql", "postgresql", "redis"])


@SERVERS
@pytest.mark.parametrize("host", ["", "a b", "a, b", "a;b", "db:3307", "[::1]", "[::1]:1", "a/b"])
def test_what_is_no_host_is_refused(backend: str, host: str) -> None:
    """The error shows it, and says where a port goes."""
    with pytest.raises(ConfigError, match="put a port into 'port'") as info:
        Config(backend=backend, host=host)
    assert info.value.key == "host"
    assert repr(host) in str(info.value)


@SERVERS
@pytest.mark.parametrize("host", ["db_1.example", "10.0.0.1", "::1", "fe80::1%eth0", "bücher.de"])
def test_names_and_addresses_are_hosts(backend: str, host: str) -> None:
    """IPv6 addresses stand without brackets; whether a name exists is found out later."""
    assert Config(backend=backend, host=host).backend_options["host"] == host


@pytest.mark.parametrize(
    ("backend", "key"),
    [("mysql", "host"), ("mysql", "hosts"), ("postgresql", "hosts"), ("redis", "host")],
)
@pytest.mark.parametrize("value", ["mysql://u:s3cret@db1/x", "u:s3cret@db1", "tcp://s3cret"])
def test_a_url_is_refused_and_not_shown(backend: str, key: str, value: str) -> None:
    """The error says what to use instead; the password in the URL does not get into a log."""
    with pytest.raises(ConfigError, match=r"a URL is not accepted: use .*password") as info:
        Config.from_mapping({"backend": backend, key: value})
    assert info.value.key == key
    assert "s3cret" not in str(info.value)


@pytest.mark.parametrize("backend", ["mysql", "postgresql"])
def test_a_database_has_a_name(backend: str) -> None:
    """An empty one is refused at once."""
    with pytest.raises(ConfigError, match="'db_name' must name a database, got ''") as info:
        Config(backend=backend, db_name="")
    assert info.value.key == "db_name"


@pytest.mark.parametrize("value", ["OFF", "full"])
def test_sqlite_takes_only_documented_ways_to_write(value: str) -> None:
    """P1: what could damage the file, or is no such way, is refused when the configuration is made."""
    with pytest.raises(ConfigError, match="must be one of FULL, EXTRA, NORMAL") as info:
        Config(backend="sqlite", synchronous=value)
    assert info.value.key == "synchronous"


def test_the_longest_wait_is_not_shorter_than_the_first() -> None:
    """A cap below the base is a mistake in the units, most likely; the error shows both."""
    Config(backend="memory", retry_base_msec=500, retry_cap_sec=0.5)
    with pytest.raises(
        ConfigError, match=r"\(0.4 s\) must .* 'retry_base_msec' \(500 ms\)"
    ) as info:
        Config(backend="memory", retry_base_msec=500, retry_cap_sec=0.4)
    assert info.value.key == "retry_cap_sec"


@pytest.mark.parametrize("backend", ["mysql", "postgresql"])
def test_a_wait_for_a_lock_is_no_silence(backend: str) -> None:
    """A server may wait for a lock for less long than it may say nothing; the error shows both."""
    Config(backend=backend, read_timeout_sec=3.1, lock_wait_timeout_sec=3)
    for seconds in (3, 0.5):
        with pytest.raises(
            ConfigError, match=rf"'read_timeout_sec' \({seconds}\) .* 'lock_wait_timeout_sec' \(3\)"
        ) as info:
            Config(backend=backend, read_timeout_sec=seconds)
        assert info.value.key == "read_timeout_sec"


def test_unknown_backends() -> None:
    """A backend that is not installed is named, with those that are."""
    with pytest.raises(UnknownBackendError, match=r"'nosuch'.*memory"):
        Config(backend="nosuch").make_backend()


def test_configurations_are_values() -> None:
    """They cannot be changed, and are equal when their keys are."""
    config = Config(backend="memory", max_retry=1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.max_retry = 2  # type: ignore[misc]  # the mistake is the point
    assert config == Config.from_mapping({"backend": "memory", "max_retry": 1})
    assert config != Config(backend="memory", max_retry=2)


def test_the_mapping_is_any_mapping() -> None:
    """Part of an application's own configuration will do."""
    values: Any = {"backend": "memory"}
    assert Config.from_mapping(values) == Config(backend="memory")
