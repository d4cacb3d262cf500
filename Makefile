# Everything starts here: `make` lists the targets. Each makes its own .venv from requirements.lock.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STEP = @printf '\n==> %s\n'

.PHONY: help demo up test lint format bench bench-scale load faults lock

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

demo: $(STAMP) ## Start everything unless it runs, take customers from search to refund, show the books, stop what it started
	@$(BIN)/marketflow demo

up: $(STAMP) ## Start everything and keep it running; Ctrl-C stops it, the data stays in var/
	@$(BIN)/marketflow up

test: lint ## Everything that CI runs: lint, then all tests on real servers, with coverage
	$(STEP) 'tests on PostgreSQL and Valkey, the migrations among them'
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder --durations 12
	$(STEP) 'coverage'
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(STAMP) ## The static checks: format, style, security, types, imports
	$(STEP) 'format'
	$(BIN)/ruff format --check .
	$(STEP) 'style'
	$(BIN)/ruff check .
	$(STEP) 'security'
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml api workers domain db ops migrations loadtest
	$(STEP) 'types'
	$(BIN)/mypy
	$(STEP) 'import contracts'
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code and repair what ruff can repair
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure against limits and peers of the same run
	$(BIN)/python -m loadtest.bench

bench-scale: $(STAMP) ## The same with a million products and ten million payments; takes long
	$(BIN)/python -m loadtest.bench --scale

load: $(STAMP) ## Let a crowd in: SCENARIO=checkout USERS=50 DURATION=60; without a scenario, list them
	@$(BIN)/python -m loadtest.load $(SCENARIO) $(if $(USERS),--users $(USERS)) \
		$(if $(DURATION),--duration $(DURATION)) $(if $(PROCESSES),--processes $(PROCESSES))

faults: $(STAMP) ## Kill, cut and delay while payments run; then prove that every cent is booked
	$(BIN)/python -m tests.domain.simulation
	$(BIN)/python -m tests.faults

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock'

lock: $(STAMP) ## Write both locks anew from pyproject.toml; ARGS=--upgrade takes newer versions
	$(COMPILE) --extra dev $(ARGS) --output-file requirements.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --output-file ops/docker/requirements.lock pyproject.toml

# uv installs the lock ten times faster than pip and is itself in the lock, hashes included. Where it cannot
# be had, or only pip's configuration knows the way to a mirror, pip does the same more slowly.
$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
		echo 'Python is missing: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed, for example make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'This Python cannot make virtual environments: install its venv module (on Debian: apt install python3-venv)' >&2; exit 1; }
	$(STEP) 'install the locked dependencies into $(VENV)'
	@$(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt
	@{ $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt \
		&& $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock; } \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
