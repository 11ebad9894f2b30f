"""The built wheel, alone in an empty environment and an empty folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.packaging.conftest import Environment
from tests.packaging.project import modules, pyproject
from tests.packaging.test_imports import allowed

SUITE = """
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from futurama.backend import Capabilities
from futurama.backends.memory import MemoryBackend
from futurama.conformance import BackendConformance


class TestMemory(BackendConformance):
    capabilities = Capabilities(
        durable=False,
        shared=False,
        resolution=timedelta(microseconds=1),
        max_data_bytes=1024 * 1024,
    )

    @classmethod
    @contextmanager
    def make_backend(cls) -> Iterator[MemoryBackend]:
        yield MemoryBackend()
"""

QUEUE = """
import threading
from datetime import timedelta
from futurama import Queue
from futurama.backends.memory import MemoryBackend

called = threading.Event()
with Queue({"ring": lambda event: called.set()}, backend=MemoryBackend()) as queue:
    queue.create("ring", timedelta(0))
    print(called.wait(30))
"""


def test_plain_needs_attrs_only(plain: Environment) -> None:
    """``pip install futurama`` installs attrs and nothing else."""
    found = plain.python(
        "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))"
    )
    assert found.split() == ["attrs", "futurama"]


def test_plain_imports_the_core(plain: Environment) -> None:
    """Every module that may import nothing but attrs does so without any extra."""
    core = [name for name in modules() if allowed(name) == {"attrs"} and "__main__" not in name]
    code = f"import importlib\nfor name in {core}: importlib.import_module(name)"
    assert plain.python(code) == ""


def test_plain_runs_an_event(plain: Environment) -> None:
    """Without any extra an event on the memory backend is called."""
    assert plain.python(QUEUE).split() == ["True"]


@pytest.mark.parametrize("name", ["mysql", "sqlite", "postgresql", "redis"])
def test_missing_backend_extra_is_named(plain: Environment, name: str) -> None:
    """Asking for a backend whose extra is missing says what to install."""
    code = f"""
from futurama.errors import UnknownBackendError
from futurama.registry import backend_class
try:
    backend_class({name!r})
except UnknownBackendError as exc:
    print(exc)
"""
    assert f'pip install "futurama[{name}]"' in plain.python(code)


def test_missing_cli_extra_is_named(plain: Environment) -> None:
    """The command without its extra says what to install, without a traceback."""
    done = plain.run("futurama", "demo")
    assert done.returncode != 0
    assert 'pip install "futurama[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_http_extra_is_named(plain: Environment) -> None:
    """Importing the HTTP trigger without its extra says what to install."""
    done = plain.run("python", "-c", "import futurama.http")
    assert done.returncode != 0
    assert 'pip install "futurama[http]"' in done.stderr


def test_complete_imports_everything(complete: Environment) -> None:
    """With all extras every module can be imported, with every warning an error.

    But for the C driver of MySQL, which has to be built; where that is possible, the tests of the
    backend use it.
    """
    left_out = {"futurama.backends.sql.mysqldb_driver"}
    names = [name for name in modules() if "__main__" not in name and name not in left_out]
    code = f"import importlib\nfor name in {names}: importlib.import_module(name)"
    assert complete.python(code) == ""


def test_entry_points_resolve(complete: Environment) -> None:
    """Every entry point of pyproject.toml is announced and leads to something."""
    code = """
import json, importlib.metadata as m
points = m.distribution("futurama").entry_points
print(json.dumps([[p.group, p.name, callable(p.load())] for p in points]))
"""
    project = pyproject()["project"]
    wanted = [["console_scripts", name, True] for name in project["scripts"]]
    for group, points in project["entry-points"].items():
        wanted += [[group, name, True] for name in points]
    assert sorted(json.loads(complete.python(code))) == sorted(wanted)


def test_command_runs(complete: Environment) -> None:
    """The installed command explains itself."""
    done = complete.run("futurama", "--help")
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_demo_runs(complete: Environment) -> None:
    """The installed demo calls what it scheduled and finds nothing lost."""
    done = complete.run("futurama", "demo", "--events", "20", "--seconds", "1")
    assert done.returncode == 0, done.stdout + done.stderr


def test_suite_runs(complete: Environment, tmp_path: Path) -> None:
    """A stranger's few lines run the installed conformance suite; the memory backend passes."""
    (tmp_path / "test_memory.py").write_text(SUITE, encoding="utf-8")
    done = complete.run_in(tmp_path, "python", "-m", "pytest", "-q", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
