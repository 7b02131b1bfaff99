# `make run` and `make test` do everything on a machine with Python 3.11+, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

# PyTorch's idle threads must sleep: spinning ones take the core that another process needs.
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: help run test test-slow lint format docs debian-packages benchmark clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

# The stamp is written last, so an install that was killed is done again.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	touch $@

# TensorFlow is large, and only the tests of serving it need it.
$(TESTABLE): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[tensorflow]'
	touch $@

run: $(INSTALLED) ## Train, judge and deploy the sample classifier on this machine
	$(BIN)/tunelane run train-classifier --config sentiment

# The documentation's commands need curl, its pages are looked at in a real browser (any Chromium on the path), and what
# the server keeps is kept in a real PostgreSQL too. Debian keeps PostgreSQL's programs off the path. systemd itself
# reads the timers that schedules become.
debian-packages:
	@{ command -v curl && { command -v chromium || command -v chromium-browser || command -v google-chrome; } && \
	  { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } && command -v systemd-analyze; } >/dev/null 2>&1 || \
	  $(AS_ROOT) sh -c 'apt-get update -qq && \
	    apt-get install -y -qq curl chromium fonts-dejavu-core postgresql systemd' || \
	  { echo 'The tests need: apt-get install curl chromium postgresql systemd' >&2; exit 1; }

test: $(TESTABLE) debian-packages lint ## Everything that must hold: lint, types, import contracts, tests
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

# What measures a server under load has the machine to itself.
test-slow: $(TESTABLE) debian-packages ## Kills, races and whole runs
	$(BIN)/pytest -n 2 --dist loadfile -m slow --ignore tests/serving/endurance
	$(BIN)/pytest -m slow tests/serving/endurance

lint: $(INSTALLED) ## Lint, format check, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED) ## Make the tables and pictures of the documentation anew
	$(BIN)/python docs/generate.py

benchmark: $(INSTALLED) ## The int8 package against the TF-IDF floor, three seeds on the whole sample
	$(BIN)/python benchmarks/floor.py

clean: ## Remove what tools and runs left here: the registry and its champions, too
	rm -rf .tunelane .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
