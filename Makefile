# Commands of a developer; each works from a fresh clone. `make` lists them.
# PYTHON=python3.12 chooses the interpreter, VENV another folder for its environment.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCKING := build/venv-lock
export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Stamps: the environment of this interpreter, with what requirements/ locks, the package built in it.
MADE := $(VENV)/made-by-$(subst /,_,$(PYTHON))
LOCKED := $(VENV)/locked
BUILT := $(VENV)/built
# Every file that pip gets has a hash in requirements/. No code of it runs meanwhile but that of sdnotify, which has
# no wheel and is built by the setuptools of requirements/build.txt; the package gets nothing more (--no-index).
# --no-compile: most of these modules are never imported.
PIP_LOCKED = -m pip install -q --no-compile --require-hashes --only-binary :all:
INSTALL = $(BIN)/python -m pip install -q --no-index --no-build-isolation -e '.[dev]'
COMPILE = $(BIN)/python setup.py -q build_ext --inplace --parallel 2

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

$(MADE):
	@.ci/need build
	@echo "== environment $(VENV) of $$($(PYTHON) --version)"
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(LOCKED): $(MADE) requirements/build.txt requirements/dev.txt
	@echo "== packages, by their hashes"
	$(BIN)/python $(PIP_LOCKED) -r requirements/build.txt
	$(BIN)/python $(PIP_LOCKED) --no-binary sdnotify --no-build-isolation -r requirements/dev.txt
	@touch $@

# A change in ext/ alone needs no new installation: only what changed is compiled.
$(BUILT): $(LOCKED) pyproject.toml setup.py $(shell find ext -type f)
	@.ci/need build
	@echo "== build the package"
	$(if $(filter-out ext/%,$?),$(INSTALL),$(COMPILE))
	@touch $@

$(LOCKING)/locked: requirements/lock.txt
	@.ci/need build
	$(PYTHON) -m venv --clear $(LOCKING)
	$(LOCKING)/bin/python $(PIP_LOCKED) -r requirements/lock.txt
	@touch $@

.PHONY: build
build: $(BUILT) ## the package, editable, in .venv

.PHONY: demo
demo: build ## the demo: real SIP messages become records on the embedded broker
	$(BIN)/pykafkaevt demo

.PHONY: tools
tools:
	@.ci/need kafka sip browser syslog systemd

.PHONY: test
test: build tools ## all tests, with a real Apache Kafka
	@echo "== all tests"
	$(BIN)/pytest tests

.PHONY: test-unit
test-unit: build ## the tests that need no broker
	@echo "== unit tests"
	$(BIN)/pytest tests/unit

.PHONY: test-versions
test-versions: ## the unit tests on each other CPython 3.10 to 3.14 under pyenv
	@PYTHON=$(PYTHON) .ci/test-versions

.PHONY: bench
bench: build tools ## the benchmarks
	@echo "== benchmarks"
	$(BIN)/pytest benchmarks

.PHONY: peers
peers: ## the C and Go programs that the benchmarks compare with
	@echo "== peers"
	benchmarks/peers/build.sh

.PHONY: lint
lint: build ## style and types: ruff, cython-lint, mypy, stubtest
	@echo "== ruff"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "== cython-lint"
	PATH="$(abspath $(BIN)):$$PATH" cython-lint ext  # it calls pycodestyle by its name
	@echo "== mypy"
	$(BIN)/mypy
	@echo "== stubtest: the .pyi files against the compiled modules"
	$(BIN)/python -m mypy.stubtest pykafkaevt --allowlist .ci/stubtest-allowlist --ignore-unused-allowlist

.PHONY: lock
lock: $(LOCKING)/locked ## requirements/ has what pyproject.toml asks for; UPGRADE=--upgrade takes the newest of all
	@echo "== lock"
	PATH="$(abspath $(LOCKING)/bin):$$PATH" .ci/lock $(UPGRADE)

.PHONY: audit
audit: $(LOCKING)/locked ## known vulnerabilities of the packages in requirements/
	@echo "== audit"
	$(LOCKING)/bin/python .ci/audit.py requirements/*.txt

SECONDS_TOTAL ?= 1800

.PHONY: races
races: build ## the table of races for SECONDS_TOTAL (1800) with ever new seeds, to the first failure
	@echo "== races"
	$(BIN)/python -m tests.races.long $(SECONDS_TOTAL)

.PHONY: sanitize
sanitize: build ## parsers on random bytes, and races, under ASan and UBSan; C that threads share under TSan
	@echo "== sanitizers"
	PYTHON=$(abspath $(BIN)/python) tests/sanitize/run.sh

.PHONY: clean
clean: ## remove all that was made
	@echo "== clean"
	rm -rf $(VENV) build dist *.egg-info tests/kafka/libs benchmarks/peers/build benchmarks/bridge/build
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find pykafkaevt -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
