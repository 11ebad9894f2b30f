"""The built distribution, and environments in which nothing but the built wheel is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
import pytest

from tests.packaging.project import EXAMPLE, ROOT, left_behind


@attrs.frozen
class Distribution:
    """The two files that would be published."""

    wheel: Path
    sdist: Path


@attrs.frozen
class Environment:
    """A virtual environment with the wheel in it, and an empty folder to work in."""

    folder: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment in a new, empty folder; look at its exit status."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        return self.run_in(work, program, *arguments)

    def run_in(self, work: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same in a folder with something in it."""
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=work,
            env=_clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def python(self, code: str) -> str:
        """What ``code`` prints; raises an AssertionError with its traceback if it fails."""
        done = self.run("python", "-W", "error", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """Wheel and sdist: those in the folder that FUTURAMA_TEST_DIST names, or freshly built ones."""
    folder = Path(os.environ.get("FUTURAMA_TEST_DIST", "")).absolute()
    if "FUTURAMA_TEST_DIST" not in os.environ:
        folder = tmp_path_factory.mktemp("dist")
        _build(ROOT, folder)
    (wheel,) = folder.glob("futurama-*.whl")
    (sdist,) = folder.glob("futurama-*.tar.gz")
    return Distribution(wheel, sdist)


@pytest.fixture(scope="session")
def plain(distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What ``pip install futurama`` gives."""
    return _install(tmp_path_factory.mktemp("plain"), str(distribution.wheel))


@pytest.fixture(scope="session")
def complete(distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What ``pip install "futurama[...]"`` with every extra for users gives."""
    extras = "mysql,sqlite,postgresql,redis,http,cli,conformance"
    return _install(tmp_path_factory.mktemp("complete"), f"{distribution.wheel}[{extras}]")


@pytest.fixture(scope="session")
def author(distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What the author of a backend has: Futurama with its suite, and a package of their own."""
    folder = tmp_path_factory.mktemp("author")
    _build(EXAMPLE, folder / "dist", "--wheel")
    (wheel,) = (folder / "dist").iterdir()
    return _install(folder, f"{distribution.wheel}[conformance]", str(wheel))


def _build(source: Path, folder: Path, *options: str) -> None:
    """Build ``source`` into ``folder``, from a copy, so that nothing of a former build gets in."""
    with tempfile.TemporaryDirectory() as parent:
        copy = Path(parent) / source.name
        shutil.copytree(source, copy, symlinks=True, ignore=lambda _, names: left_behind(names))
        build = [sys.executable, "-m", "build", "--no-isolation", *options]
        _run(*build, "--outdir", str(folder), str(copy))


def _install(folder: Path, *requirements: str) -> Environment:
    # Our own pip installs into the new environment: that saves the time to put one there.
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    constraints = str(ROOT / "constraints.txt")
    python = str(folder / "bin" / "python")
    _run(*pip, "--python", python, "install", "-c", constraints, *requirements)
    return Environment(folder)


def _run(*command: str) -> None:
    done = subprocess.run(
        command,
        env=_clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}"


def _clean_environment() -> dict[str, str]:
    """Ours, without what would let another copy of Futurama or our coverage in."""
    prefixes = ("PYTHON", "COVERAGE", "COV_", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
