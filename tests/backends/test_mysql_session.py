"""What sessions are told on servers that cannot all be started here."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from futurama.backends.sql.mysql_session import RefusedError, refuse_unless_writable, set_up


class _Cursor:
    """Notes what it is asked, and answers the same to everything."""

    def __init__(self, answer: tuple[str, str] = ("", "")) -> None:
        self.asked = ""
        self._answer = answer

    def execute(self, statement: str) -> None:
        self.asked += statement

    def fetchone(self) -> tuple[str, str]:
        return self._answer


def _said(variables: Mapping[str, str]) -> str:
    cursor = _Cursor()
    set_up(cursor, variables, lock_wait_seconds=3, silence_seconds=30)
    return cursor.asked


@pytest.mark.parametrize(
    ("single_primary", "found", "wanted"),
    [
        ("OFF", "EVENTUAL", "BEFORE"),
        ("OFF", "BEFORE_ON_PRIMARY_FAILOVER", "BEFORE"),
        ("OFF", "AFTER", "BEFORE_AND_AFTER"),
        ("ON", "EVENTUAL", "BEFORE_ON_PRIMARY_FAILOVER"),
    ],
)
def test_group_replication_is_asked_for_enough(
    single_primary: str, found: str, wanted: str
) -> None:
    """No member answers from a state that is older than what another one has acknowledged."""
    said = _said(
        {
            "group_replication_single_primary_mode": single_primary,
            "group_replication_consistency": found,
        }
    )
    assert f"group_replication_consistency = '{wanted}'" in said


@pytest.mark.parametrize(
    ("single_primary", "found"),
    [
        ("OFF", "BEFORE"),
        ("OFF", "BEFORE_AND_AFTER"),
        ("ON", "BEFORE_ON_PRIMARY_FAILOVER"),
        ("ON", "AFTER"),
    ],
)
def test_what_is_strong_enough_stays(single_primary: str, found: str) -> None:
    """An administrator who asks for more gets it."""
    said = _said(
        {
            "group_replication_single_primary_mode": single_primary,
            "group_replication_consistency": found,
        }
    )
    assert "group_replication" not in said


def test_a_single_server_is_told_nothing_of_clusters() -> None:
    """It may not know the words."""
    said = _said({"read_only": "OFF", "wsrep_on": "OFF"})
    assert "group_replication" not in said
    assert "wsrep" not in said


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"read_only": "ON"}, 1290),
        ({"read_only": "1"}, 1290),
        ({"read_only": "NO_LOCK_NO_ADMIN"}, 1290),
        ({"read_only": "OFF", "innodb_read_only": "ON"}, 1290),
        ({"read_only": "OFF", "wsrep_on": "ON"}, 1047),
    ],
)
def test_who_takes_no_writes_is_refused(variables: Mapping[str, str], code: int) -> None:
    """Replicas, readers of Aurora, and nodes of Galera that are not ready."""
    with pytest.raises(RefusedError) as caught:
        refuse_unless_writable(_Cursor(("wsrep_ready", "OFF")), variables)
    assert caught.value.args[0] == code


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"read_only": "OFF", "innodb_read_only": "OFF", "wsrep_on": "OFF"},
        {"read_only": "0", "wsrep_on": "ON"},
    ],
)
def test_who_takes_writes_is_not(variables: Mapping[str, str]) -> None:
    """Whatever the server has no word for counts as good."""
    refuse_unless_writable(_Cursor(("wsrep_ready", "ON")), variables)
