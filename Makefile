# Commands of a developer; each works from a fresh clone. `make` lists them.
# PYTHON=python3.12 chooses the interpreter, VENV another folder for its environment.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
BIN := $(VENV)/bin
export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Stamps: the environment of this interpreter, the package built in it.
MADE := $(VENV)/made-by-$(subst /,_,$(PYTHON))
BUILT := $(VENV)/built-$(EXTRAS)
INSTALL = $(BIN)/python -m pip install -q -e '.[$(EXTRAS)]'
COMPILE = $(BIN)/python setup.py -q build_ext --inplace --parallel 2

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

$(MADE):
	@.ci/need build
	@echo "== environment $(VENV) of $$($(PYTHON) --version)"
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# A change in ext/ alone needs no new installation where Cython is at hand (dev): only what changed is compiled.
$(BUILT): $(MADE) pyproject.toml setup.py $(shell find ext -type f)
	@.ci/need build
	@echo "== build the package"
	$(if $(filter-out ext/%,$?)$(filter-out dev,$(EXTRAS)),$(INSTALL),$(COMPILE))
	@touch $@

.PHONY: build
build: $(BUILT) ## the package, editable, in .venv

.PHONY: demo
demo: build ## the demo: real SIP messages become records on the embedded broker
	$(BIN)/pykafkaevt demo

.PHONY: tools
tools:
	@.ci/need kafka sip browser syslog

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
