"""The order in which things are measured."""

from __future__ import annotations

import pytest

from benchmarks.stores import Store
from benchmarks.turns import in_turn


@pytest.mark.parametrize(
    ("run", "order"),
    [(1, ["library", "bare"]), (2, ["bare", "library"]), (3, ["library", "bare"])],
)
def test_who_comes_first_alternates(
    run: int, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odd runs begin with the first, even ones with the last, each on a server at rest."""
    seen: list[str] = []
    monkeypatch.setattr(Store, "rest", lambda _: seen.append("rest"))

    def work(name: str, seconds: float) -> float:
        seen.append(name)
        return seconds

    store = Store("any", {}, run=run)
    measured = in_turn(store, lambda: work("library", 1.0), lambda: work("bare", 2.0))
    assert measured == [1.0, 2.0]
    assert seen == ["rest", order[0], "rest", order[1]]
