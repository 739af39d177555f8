# `make` lists the targets. `make demo` and `make test` need nothing but Python 3.11 or newer and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Limbeck needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# The stamps make a second run quick: nothing is installed unless a lock or pyproject.toml changed.
$(VENV)/runtime.stamp: requirements/runtime.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/runtime.txt -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/runtime.stamp
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

demo: $(VENV)/runtime.stamp ## The whole way: example seeds in, a real vLLM teacher, curated JSONL out
	$(BIN)/limbeck demo

up: $(VENV)/runtime.stamp ## Everything on this machine, until Ctrl-C
	$(BIN)/limbeck up

test: check $(VENV)/dev.stamp ## Lint, types, imports, then every test that is quick enough for each commit
	$(BIN)/python -m pytest

check: $(VENV)/dev.stamp ## Ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fmt: $(VENV)/dev.stamp ## Format, and mend what Ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

migration: $(VENV)/dev.stamp ## A new migration from the models: make migration m="what it does"
	$(BIN)/python -m tests.support.make_migration "$(m)"

compose-test: $(VENV)/dev.stamp ## Build the image, run docker-compose.yml with a teacher on this host, and clean up
	$(BIN)/python -m tests.compose.drive

faults: $(VENV)/dev.stamp ## Everything that can go wrong, the long cases too, three times each; ends in a table (20 minutes)
	FAULT_REPEATS=$${FAULT_REPEATS:-3} $(BIN)/python -m pytest tests/faults -m "" --timeout=300

bench: $(VENV)/dev.stamp ## All figures of docs/benchmarks.md: ratios from one run, other tools beside us (an hour)
	$(BIN)/python -m bench.throughput
	$(BIN)/python -m bench.concurrency
	$(BIN)/python -m bench.queue rates
	$(BIN)/python -m bench.queue sizes
	$(BIN)/python -m bench.ingest
	$(BIN)/python -m bench.real_vllm

bench-peers: $(VENV)/dev.stamp ## One bad answer, one hopeless prompt, one kill -9: what is left, here and with the other tools
	$(BIN)/python -m bench.peers.faults

lock: $(VENV)/dev.stamp ## Write the lock files anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet -o requirements/runtime.txt
	$(BIN)/uv pip compile --group build --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet -c requirements/runtime.txt -o requirements/build.txt
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet -c requirements/runtime.txt -o requirements/dev.txt
	for wanted in bench/peers/*/requirements.in; do $(BIN)/uv pip compile $$wanted --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet -o $${wanted%.in}.txt || exit 1; done

.PHONY: help demo up test check fmt migration compose-test faults bench bench-peers lock
