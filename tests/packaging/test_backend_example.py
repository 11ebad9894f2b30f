"""A backend by somebody else, in an environment with nothing but the two wheels and the suite."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from futurama.conformance import LAWS
from tests.packaging.conftest import Environment
from tests.packaging.project import EXAMPLE

CONFIGURED = """
import json
import sys
import threading
from datetime import timedelta
from pathlib import Path

import futurama
import futurama_textfile

assert all(Path(m.__file__).is_relative_to(sys.prefix) for m in (futurama, futurama_textfile))
Path("queue.json").write_text(json.dumps({"backend": "textfile", "path": "events.jsonl"}))
config = futurama.Config.from_file("queue.json")
called = threading.Event()
with futurama.Queue({"ring": lambda event: called.set()}, config) as queue:
    queue.create("ring", timedelta(days=1), id="later")
    queue.create("ring", timedelta(0))
    assert called.wait(30)
line, = Path("events.jsonl").read_text().splitlines()
print(json.loads(line)["id"])
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder outside the checkout, with the example's tests and nothing else."""
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=lambda *_: ["__pycache__"])
    return tmp_path


@pytest.fixture
def _files_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tens of thousands of ``fsync`` take a minute on a disk; processes are killed, but no plug is pulled."""
    if os.access("/dev/shm", os.W_OK):
        monkeypatch.setenv("TMPDIR", "/dev/shm")


@pytest.mark.usefixtures("_files_in_memory")
def test_example_keeps_every_law(author: Environment, work: Path) -> None:
    """``python -m futurama.conformance`` finds each law held, and says so in JSON."""
    suite = "tests/test_conformance.py:TestTextFile"
    done = author.run_in(work, "python", "-m", "futurama.conformance", "--json", suite)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["laws"] == dict.fromkeys(LAWS, "held")


def test_tests_of_the_example_pass(author: Environment, work: Path) -> None:
    """The example's tests pass under pytest; of the suite, which ran above, a few."""
    some = "not test_conformance or test_add or test_suite"
    done = author.run_in(work, "python", "-m", "pytest", "-q", "-W", "error", "-k", some)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout


def test_example_works_by_configuration(author: Environment) -> None:
    """``{"backend": "textfile"}`` is a queue on the installed backend; what is not due stays in the file."""
    assert author.python(CONFIGURED).split() == ["later"]
