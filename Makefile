# SPDX-License-Identifier: GPL-3.0-or-later
# One word per task. Each word does its own set-up, and says so in one line when it installs something.

MAKEFLAGS += --no-print-directory --no-builtin-rules
BIN := .venv/bin
# A moved tree, a replaced interpreter or another PYTHON= needs a new environment.
STALE := $(shell test -x $(BIN)/python && grep -sqxF '$(CURDIR)' .venv/.ready \
	&& { test -z '$(PYTHON)' || grep -sqxF 'PYTHON=$(PYTHON)' .venv/.ready; } || echo stale)
export PYTHON

.PHONY: help setup fix check unit system test bench soak run cases fuzz docs clean stale install uninstall

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: .venv/.ready ## build .venv (PYTHON=... picks the interpreter)

.venv/.ready: pyproject.toml constraints.txt scripts/setup.sh scripts/reachable.py $(STALE)
	@scripts/setup.sh

stale: ;

fix: setup ## repair format and imports
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

check: setup ## ruff, mypy and import-linter; changes nothing
	@$(BIN)/ruff format --check . || { echo "make fix repairs this"; exit 1; }
	@$(BIN)/ruff check . || { echo "make fix repairs what can be repaired"; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

unit: setup ## the quick tests
	@scripts/two_at_once.sh tests/worker $(BIN)/pytest

system: setup ## the programs together, with real mail servers (root or sudo)
	@scripts/system_tests.sh

test: check unit system ## everything: check, unit and system

run: setup ## the programs with sample messages, until Ctrl-C (ONCE=1 ends after the samples)
	@scripts/demo.sh $(if $(ONCE),--once)

cases: setup ## the golden cases of tests/cases (UPDATE=1 writes what comes out, for review)
	@$(BIN)/pytest tests/worker/test_cases.py
	@$(if $(UPDATE),git --no-pager diff --stat -- tests/cases,:)

bench: setup ## Defang and MIMEDefang side by side (root or sudo; ARGS=--quick for a short one)
	@scripts/benchmark.sh $(ARGS)

soak: setup ## many messages with recycling and rereading: nothing may grow or stay (root or sudo; COUNT=50000)
	@scripts/soak.sh $(if $(COUNT),--count $(COUNT))

fuzz: setup ## look for input that breaks the MIME engine, for a minute (SECONDS_TO_RUN=600: for ten)
	@scripts/fuzz.sh

docs: setup ## fill the tables in the documents from the code
	@$(BIN)/python -m scripts.fill_tables

install: ## install it: PREFIX=/usr/local DESTDIR= INIT= PYTHON= WHEELS= EXTRAS= (docs/install.md)
	@scripts/install.sh install "$(DESTDIR)" "$(PREFIX)" "$(INIT)" "$(WHEELS)" "$(EXTRAS)"

uninstall: ## take an installation back (the same PREFIX= and DESTDIR=)
	@scripts/install.sh uninstall "$(DESTDIR)" "$(PREFIX)"

clean: ## remove all that these words made in the tree
	rm -rf .venv .cache build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
