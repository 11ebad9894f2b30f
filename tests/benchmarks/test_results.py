"""What is made of figures."""

from __future__ import annotations

import json

import pytest

from benchmarks.figures import Figure
from benchmarks.results import Results, line, page, rows_of

RUNS = [
    [
        Figure("run, 1 process", rate, "events/s", ">= 18,000"),
        Figure("idle", 0.5, "%", "<= 1"),
        Figure("p5", 1.0, "ms", is_detail=True),
    ]
    for rate in (17_000.0, 19_000.0, 16_000.0)
]


def results() -> Results:
    """Three runs of one benchmark."""
    empty = Results("2 cores", {}, []).with_store("mysql", "a server")
    return empty.with_rows("mysql", "run-1", rows_of("mysql", "run-1", RUNS))


def test_page_shows_medians_and_goals() -> None:
    """The page has a row per figure, which says whether the goal is reached; details are left out."""
    text = page(results())
    assert "## mysql\n\na server.\n" in text
    assert (
        "| `run-1` | run, 1 process | 17,000 | 16,000 | 19,000 | events/s | 3 | >= 18,000 | **no** |"
        in text
    )
    assert "| `run-1` | idle | 0.500 | 0.500 | 0.500 | % | 3 | <= 1 | yes |" in text
    assert "p5" not in text


def test_lines_say_what_is_not_reached() -> None:
    """In a terminal what falls short stands out."""
    slow, idle, _ = map(line, results().rows)
    assert slow.endswith("goal >= 18,000, NOT REACHED")
    assert idle.endswith("goal <= 1")


def test_results_come_back_from_json() -> None:
    """What was kept as JSON is what was measured."""
    known = json.loads(results().to_json())
    assert Results("2 cores", {}, []).with_earlier(known) == results()


@pytest.mark.parametrize(
    ("value", "goal", "is_reached"),
    [(8_000, ">= 8,000", True), (0.89, ">= 0.9", False), (1, "<= 1", True), (1, "", None)],
)
def test_goals(value: float, goal: str, is_reached: bool | None) -> None:  # noqa: FBT001 -- a table
    """A goal is a bound that itself is good enough."""
    assert Figure("any", value, goal=goal).is_reached is is_reached
