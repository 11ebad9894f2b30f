"""What is made of figures."""

from __future__ import annotations

import pytest

from benchmarks.circumstances import Circumstances
from benchmarks.figures import Figure
from benchmarks.results import Measurement, Results, line, page

RUNS = [
    [
        Figure("run, 1 process", rate, "events/s", ">= 18,000"),
        Figure("idle", 0.5, "%", "<= 1"),
        Figure("p5", 1.0, "ms", is_detail=True),
    ]
    for rate in (17_000.0, 19_000.0, 16_000.0)
]


EARLIER = Circumstances("2026-05-30", "1234567", "2 cores", "a server")
LATER = Circumstances("2026-05-31", "89abcde+", "4 cores", "another server")


def measurement(name: str = "run-1", where: Circumstances = EARLIER) -> Measurement:
    """Three runs of one benchmark."""
    return Measurement.of_runs("mysql", name, where, RUNS)


def test_page_shows_medians_and_goals() -> None:
    """The page has a row per figure, which says whether the goal is reached; details are left out."""
    text = page(Results([measurement()]))
    assert "## mysql\n\na server. Measured on 2026-05-30 at commit `1234567` on 2 cores.\n" in text
    assert (
        "| `run-1` | run, 1 process | 17,000 | 16,000 | 19,000 | events/s | 3 | >= 18,000 | **no** |"
        in text
    )
    assert "| `run-1` | idle | 0.500 | 0.500 | 0.500 | % | 3 | <= 1 | yes |" in text
    assert "p5" not in text


def test_lines_say_what_is_not_reached() -> None:
    """In a terminal what falls short stands out."""
    slow, idle, _ = (line("mysql", row) for row in measurement().rows)
    assert slow.endswith("goal >= 18,000, NOT REACHED")
    assert idle.endswith("goal <= 1")


def test_results_come_back_from_json() -> None:
    """What was kept as JSON is what was measured."""
    results = Results([measurement(), measurement("run-2", LATER)])
    assert Results.from_json(results.to_json()) == results


def test_numbers_keep_their_circumstances() -> None:
    """What was measured at other times, elsewhere or of other code stands in a table of its own."""
    results = Results()
    for name, where in [("run-2", EARLIER), ("run-1", EARLIER), ("create-1", LATER)]:
        results = results.joined_by(measurement(name, where))
    latter, former = page(results).split("\n## mysql\n")[1].split(str(EARLIER))
    assert latter.startswith(f"\n{LATER}\n")
    assert latter.count("`create-1`") == 2
    assert "`run-" not in latter
    assert former.count("`run-1`") == former.count("`run-2`") == 2


def test_a_measurement_replaces_the_same() -> None:
    """What is measured anew has the new circumstances; what went wrong has no number at all."""
    renewed = Results([measurement()]).joined_by(measurement(where=LATER))
    assert renewed.measurements == [measurement(where=LATER)]
    wrong = Measurement.of_runs("mysql", "run-1", LATER, [])
    assert renewed.joined_by(wrong).measurements == []


@pytest.mark.parametrize(
    ("value", "goal", "is_reached"),
    [(8_000, ">= 8,000", True), (0.89, ">= 0.9", False), (1, "<= 1", True), (1, "", None)],
)
def test_goals(value: float, goal: str, is_reached: bool | None) -> None:  # noqa: FBT001 -- a table
    """A goal is a bound that itself is good enough."""
    assert Figure("any", value, goal=goal).is_reached is is_reached
