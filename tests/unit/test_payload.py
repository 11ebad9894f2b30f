"""Data is stored as JSON, and nothing about it changes on the way."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from futurama import payload
from futurama.errors import InvalidEventError
from tests.unit.support import LAWS

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters())  # lone surrogates included
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner)
)


def nested(depth: int) -> Any:
    """So many lists and dicts inside of each other."""
    value: Any = 1
    for level in range(depth):
        value = {"a": value} if level % 3 else [value]
    return value


def deeper(frames: int, do: Callable[[], Any]) -> Any:
    """The same with so many more frames on the stack."""
    return deeper(frames - 1, do) if frames else do()


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types: ``1 == 1.0 == True`` is not enough."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return bool(a == b)


@given(JSON)
@settings(LAWS, max_examples=40)
def test_round_trip(data: Any) -> None:
    """Every JSON value comes back as it was, to the type, the sign of zero and the order of keys."""
    assert same(payload.decode(payload.encode(data)), data)


@given(JSON)
@settings(LAWS, max_examples=40)
def test_is_json_in_utf8(data: Any) -> None:
    """What is stored is UTF-8 that any JSON parser can read."""
    assert same(json.loads(payload.encode(data).decode("utf-8")), data)


@pytest.mark.parametrize(
    "data",
    ["\ud800", {"\udfff": "a\ud800b"}, "\x00", "😀", 10**400, -(2**64), 5e-324, -0.0, 1e308, nested(payload.MAX_DEPTH)],
    ids=["surrogate", "surrogate-key", "nul", "emoji", "big", "negative", "tiny", "-0", "huge", "deep"],
)  # fmt: skip
def test_hard_values(data: Any) -> None:
    """Surrogates, NUL, 4-byte characters, big integers, extreme floats and deep nesting survive."""
    assert same(payload.decode(payload.encode(data)), data)


@pytest.mark.parametrize(
    "stored",
    [b' {"a": [1]}\n', '{"a":[1]}'.encode("utf-8-sig"), '{"a":[1]}'.encode("utf-16")],
    ids=["blanks", "mark", "utf-16"],
)
def test_json_of_others(stored: bytes) -> None:
    """What another program has stored is read if it is JSON, however it is spaced or encoded."""
    assert payload.decode(stored) == {"a": [1]}


def test_tuples_become_lists() -> None:
    """The one change: JSON has no tuples."""
    assert payload.decode(payload.encode({"a": (1, (2,))})) == {"a": [1, [2]]}


def test_text_is_readable() -> None:
    """People who look into the database read what was written."""
    assert payload.encode({"Straße": "日本"}) == '{"Straße":"日本"}'.encode()


class Unrepresentable:
    """Not JSON, and not even ``repr`` works."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


CIRCULAR: list[Any] = []
CIRCULAR.append(CIRCULAR)


@pytest.mark.parametrize(
    ("data", "because"),
    [
        (math.nan, "nan"),
        ([math.inf], "inf"),
        ({1: "a"}, "the key 1 is not a str"),
        ({"a": [{None: 1}]}, "the key None is not a str"),
        ({"a": {True: 1}}, "the key True is not a str"),
        ({1, 2}, "set"),
        (b"bytes", "bytes"),
        (object(), "object"),
        (Unrepresentable(), "Unrepresentable"),
        (CIRCULAR, "circular"),
        ({"a": CIRCULAR}, "circular"),
        (nested(payload.MAX_DEPTH + 1), "nested more than 200 deep"),
        ((nested(payload.MAX_DEPTH),), "nested more than 200 deep"),
        (nested(100_000), "nested more than 200 deep"),
        (10**5000, "4300"),
    ],
    ids=["nan", "inf", "int-key", "none-key", "bool-key", "set", "bytes", "object", "repr",
         "circular", "circular-inside", "one-too-deep", "tuple-too-deep", "too-deep", "too-big"],
)  # fmt: skip
def test_what_is_not_json_is_refused(data: Any, because: str) -> None:
    """P7: what would be changed or lost is refused, with the reason, before anything is written."""
    with pytest.raises(InvalidEventError, match=f"(?i){because}") as info:
        payload.encode(data)
    assert info.value.field == "data"


def test_what_was_encoded_can_be_decoded_anywhere() -> None:
    """P7: how deep data may be nested does not depend on where it is encoded or decoded."""
    data = nested(payload.MAX_DEPTH)
    encoded = deeper(500, lambda: payload.encode(data))
    assert deeper(500, lambda: payload.decode(encoded)) == data


def test_offending_data_is_shortened() -> None:
    """P8: an error does not repeat a megabyte of data."""
    with pytest.raises(InvalidEventError) as info:
        payload.encode(["x" * 1_000_000, object()])
    assert len(str(info.value)) < 500


@pytest.mark.parametrize(
    "stored", [b"", b"{", b"nul", b"1 2", b"\xff\xfe\xfd", b"[" * 100_000 + b"]" * 100_000]
)
def test_undecodable_payload(stored: bytes) -> None:
    """Stored bytes that are not JSON raise ValueError, whatever is wrong with them."""
    with pytest.raises(ValueError, match=r".+"):
        payload.decode(stored)
