# `make run` and `make test` do everything on a machine with Python 3.11+, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# PyTorch's idle threads must sleep: spinning ones take the core that another process needs.
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: help run test test-slow lint format benchmark clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

# The stamp is written last, so an install that was killed is done again.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	touch $@

run: $(INSTALLED) ## Train, judge and deploy the sample classifier on this machine
	$(BIN)/tunelane run train-classifier --config sentiment

test: $(INSTALLED) lint ## Everything that must hold: lint, types, import contracts, tests
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(INSTALLED) ## Kills, races and whole runs
	$(BIN)/pytest -m slow

lint: $(INSTALLED) ## Lint, format check, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(INSTALLED) ## The int8 package against the TF-IDF floor, three seeds on the whole sample
	$(BIN)/python benchmarks/floor.py

clean: ## Remove what runs and tools left here
	rm -rf .tunelane .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
