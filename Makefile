# `make` prints what there is. Each target does its own set-up; FLAGS is passed on to the tool.

VENV ?= .venv
FLAGS ?=
MINUTES ?= 30
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -p tests.no_silent_skips
# All tests of a class or module stay in one process, which starts its own servers.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadscope

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-all lint format types imports unit conformance coverage wheel servers \
  docs chaos soak bench constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## schedule real HTTP calls and watch them arrive, e.g. FLAGS="--events 500 --seconds 10"
	@$(BIN)/futurama demo $(FLAGS)

test: lint types imports coverage ## everything that must hold: what continuous integration runs

test-all: ## `make test` under every Python from 3.11 to 3.13 found here
	@sh scripts/every_python.sh

lint: $(VENV)/.dev ## the linter, and whether the formatter has nothing to do
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "run 'make format'" >&2; exit 1; }

format: $(VENV)/.dev ## what the linter can mend, and the formatter
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format

types: $(VENV)/.dev ## the type checker
	@$(BIN)/mypy

imports: $(VENV)/.dev ## the import contracts of the architecture
	@$(BIN)/lint-imports --no-logo --no-cache

unit: $(VENV)/.dev ## the quick tests alone: no server, no processes
	@$(PYTEST) tests/unit $(FLAGS)

conformance: $(VENV)/.dev servers ## the conformance suite on every backend, as docs/conformance-results.md
	@$(BIN)/python -m tests.conformance.results $(FLAGS)

coverage: $(VENV)/.dev servers ## all tests; fails below the floor of branch coverage
	@$(PYTEST) $(PARALLEL) --cov --cov-report=term $(FLAGS)

wheel: $(VENV)/.dev ## build wheel and sdist into dist/ and try them in empty environments
	@rm -rf build dist
	@$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@ls dist/*
	@FUTURAMA_TEST_DIST=dist $(PYTEST) tests/packaging $(FLAGS)

servers: $(BIN)/python # the binaries of the servers that tests start, and the driver that has to be built
	@sh scripts/ensure_servers.sh
	@sh scripts/ensure_mysqlclient.sh $(BIN)/python

docs: $(VENV)/.dev ## renew the page that is made from the code
	@$(BIN)/python docs/make_configuration.py > docs/configuration.md

chaos: $(VENV)/.dev servers ## every fault at full size, as docs/reliability.md; a quarter of an hour, or e.g. FLAGS="zombies --seed 7"
	@$(BIN)/python -m tests.faults --markdown docs/reliability.md $(FLAGS)

soak: $(VENV)/.dev servers ## random faults for a long time, and whether anything wears out: MINUTES=30
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(FLAGS)

bench: $(VENV)/.bench servers ## the measured claims, into docs/benchmark-results.md; a quarter of an hour, or e.g. FLAGS="run-1 --store mysql"
	@$(BIN)/python -m benchmarks --keep docs/performance/results.json \
	  --markdown docs/benchmark-results.md --plots docs/performance $(FLAGS)

constraints: ## resolve the newest versions of all tools into constraints.txt
	@sh scripts/constraints.sh

clean: ## remove what was built and all caches; the virtual environments stay
	@rm -rf build dist *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

$(BIN)/python:
	@sh scripts/venv.sh $(VENV) $(PYTHON)

# What `make demo` needs is a third of what `make test` needs, so the first run is quick.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Futurama and what it runs with into $(VENV)"
	@$(PIP) install -c constraints.txt setuptools
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[mysql,sqlite,http,cli]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "installing what draws plots into $(VENV)"
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[bench]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Futurama and its development tools into $(VENV)"
	@$(PIP) install -c constraints.txt setuptools
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $(VENV)/.runtime $@
