"""The command line of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from benchmarks.__main__ import main
from benchmarks.catalogue import BENCHMARKS
from benchmarks.figures import Figure, VerificationError
from benchmarks.results import Results
from benchmarks.stores import Store
from tests.benchmarks.conftest import SMALL

CASES = [
    (store, name)
    for store in ("memory", "sqlite")
    for name in SMALL
    if store in BENCHMARKS[name].stores and not (store == "sqlite" and "lateness" in name)
]


@pytest.mark.parametrize(("store", "name"), CASES)
def test_every_benchmark_verifies_itself(
    store: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A benchmark ends well on a store that is right, and shows its figures."""
    assert main([name, "--store", store, "--runs", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(store)
    assert f"{store} {name}: 1 of 1" in captured.err


def test_what_is_wrong_is_no_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark whose verification fails shows no figure, and the exit status tells."""

    def measure(store: Store) -> list[Figure]:
        raise VerificationError("an event was lost")

    wrong = attrs.evolve(BENCHMARKS["run-1"], measure=measure)
    monkeypatch.setitem(BENCHMARKS, "run-1", wrong)
    assert main(["run-1", "--store", "memory"]) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert "memory run-1: WRONG: an event was lost" in captured.err


def test_earlier_results_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was kept of other benchmarks joins the page, what was kept of the same is replaced."""
    kept, written = tmp_path / "results.json", tmp_path / "page.md"
    files = ["--keep", str(kept), "--markdown", str(written), "--store", "memory"]
    main(["create-many", *files, "--runs", "2"])
    main(["run-1", *files, "--runs", "1"])
    main(["create-many", *files, "--runs", "1", "--json"])
    results = json.loads(kept.read_text(encoding="utf-8"))
    assert [(each["benchmark"], each["runs"]) for each in results] == [
        ("create-many", 1),
        ("run-1", 1),
    ]
    assert written.read_text(encoding="utf-8").count("| `run-1` |") == 1
    shown = capsys.readouterr().out
    assert json.loads(shown[shown.index("[") :]) == results


def test_folders_are_made_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results can be written to folders that do not exist yet."""
    kept, written = tmp_path / "new" / "results.json", tmp_path / "other" / "page.md"

    def measure(store: Store) -> list[Figure]:
        assert kept.parent.is_dir()
        assert written.parent.is_dir()
        return [Figure("any", 1)]

    monkeypatch.setitem(BENCHMARKS, "run-1", attrs.evolve(BENCHMARKS["run-1"], measure=measure))
    files = ["--keep", str(kept), "--markdown", str(written)]
    assert main(["run-1", "--store", "memory", "--runs", "1", *files]) == 0
    assert [file.name for file in kept.parent.iterdir()] == ["results.json"]
    assert written.exists()


def test_an_interruption_costs_one_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured before somebody interrupts has been written."""
    kept = tmp_path / "results.json"

    def measure(store: Store) -> list[Figure]:
        raise KeyboardInterrupt

    monkeypatch.setitem(BENCHMARKS, "run-1", attrs.evolve(BENCHMARKS["run-1"], measure=measure))
    with pytest.raises(KeyboardInterrupt):
        main(["create-many", "run-1", "--store", "memory", "--runs", "1", "--keep", str(kept)])
    (known,) = Results.from_json(kept.read_text(encoding="utf-8")).measurements
    assert known.benchmark == "create-many"


def test_runs_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark can tell by the number of the run what comes first in it."""
    numbers: list[float] = []

    def measure(store: Store) -> list[Figure]:
        numbers.append(store.run)
        return [Figure("any", 1)]

    monkeypatch.setitem(BENCHMARKS, "run-1", attrs.evolve(BENCHMARKS["run-1"], measure=measure))
    main(["run-1", "--store", "memory", "--runs", "3"])
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize("words", [["no-such-benchmark"], ["--runs", "0"], ["--store", "none"]])
def test_mistakes_are_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be run is refused before anything is."""
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "error: " in capsys.readouterr().err
