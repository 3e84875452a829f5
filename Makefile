# make demo    run a Bell pair on the embedded simulator and record it
# make test    lint, type-check and test everything that needs no optional simulator
# make help    the other targets

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
ENSURE = $(PYTHON) -c 'import sys; v = sys.version_info; \
	sys.exit(0 if v >= (3, 11) else f"qrun needs Python 3.11 or newer, this is {v[0]}.{v[1]}: make PYTHON=python3.12 $(MAKECMDGOALS)")'
# Two files of tests at a time.
TWO = -n 2 --dist loadfile

.PHONY: help demo test quick lint test-aer test-pulser official kill-sweep bench bench-oqtopus clean

help:
	@echo "make demo         run specs/bell.yaml on the embedded simulator (no account, no network after set-up)"
	@echo "make test         ruff, mypy --strict and all tests"
	@echo "make quick        the tests without the slow ones"
	@echo "make test-aer     the tests of the extra 'aer' (qiskit-aer), in an environment of their own"
	@echo "make test-pulser  the tests of the extra 'pulser' (pulser-simulation), in an environment of their own"
	@echo "make official     the official OQTOPUS clients against the emulator, in an environment of their own"
	@echo "make official-pasqal  the official Pasqal client against the emulator, and the emulator's physics"
	@echo "make kill-sweep   SIGKILL at every system call and failpoint of an apply, here and to a cloud (an hour; needs strace)"
	@echo "make bench        the benchmarks, as ratios measured side by side"
	@echo "make bench-oqtopus   a thousand jobs by qrun and by the official clients, on one emulator"
	@echo "make bench-pasqal    a sweep of 500 points by qrun and by the official client, on one emulator"
	@echo "make clean        remove the environments and caches"

demo: $(VENV)/.core
	$(BIN)/qrun apply specs/bell.yaml

test: lint
	$(BIN)/python -m pytest $(TWO)

quick: $(VENV)/.test
	$(BIN)/python -m pytest $(TWO) -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-aer:
	$(MAKE) VENV=.venv-aer .venv-aer/.aer
	.venv-aer/bin/python -m pytest tests/test_local_aer.py tests/test_qasmbench.py

test-pulser:
	$(MAKE) VENV=.venv-pulser .venv-pulser/.pulser
	.venv-pulser/bin/python -m pytest tests/test_local_pulser.py

official:
	$(MAKE) VENV=.venv-official .venv-official/.official
	.venv-official/bin/python -m pytest tests/official

.PHONY: official-pasqal
official-pasqal:
	$(MAKE) VENV=.venv-official-pasqal .venv-official-pasqal/.official-pasqal
	.venv-official-pasqal/bin/python -m pytest tests/official_pasqal tests/test_emulator_pasqal_physics.py tests/test_emulator_pasqal_theory.py tests/test_emulator_pasqal_env.py tests/test_pasqal_pulser.py \
		tests/test_cli_pasqal_sdk.py tests/test_cli_pasqal_tutorial.py

kill-sweep: $(VENV)/.test
	KILLS=all $(BIN)/python -m pytest -o faulthandler_timeout=0 tests/test_kill.py tests/test_kill_cloud.py tests/test_crowd_cloud.py \
		tests/test_kill_pasqal.py tests/test_kill_calls_pasqal.py

bench:
	$(MAKE) VENV=.venv-bench .venv-bench/.bench
	.venv-bench/bin/python -m benchmarks

bench-oqtopus:
	$(MAKE) VENV=.venv-official .venv-official/.official
	.venv-official/bin/python -m benchmarks.oqtopus

.PHONY: bench-pasqal
bench-pasqal:
	$(MAKE) VENV=.venv-official-pasqal .venv-official-pasqal/.official-pasqal
	.venv-official-pasqal/bin/python -m benchmarks.pasqal

clean:
	rm -rf .venv .venv-official-pasqal .venv-aer .venv-pulser .venv-official .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A stamp names the set that is installed; a larger set serves a smaller one, so `make demo` after `make test` is free.
$(VENV)/bin/python:
	@$(ENSURE)
	$(PYTHON) -m venv $(VENV)

define install
	$(INSTALL) --require-hashes -r requirements/$(1).txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q qrun
	touch $(2)
endef

$(VENV)/.core: requirements/core.txt pyproject.toml | $(VENV)/bin/python
	$(call install,core,$@)

$(VENV)/.test: requirements/test.txt pyproject.toml | $(VENV)/bin/python
	$(call install,test,$@ $(VENV)/.core)

$(VENV)/.aer: requirements/aer.txt pyproject.toml | $(VENV)/bin/python
	$(call install,aer,$@)

$(VENV)/.bench: requirements/bench.txt pyproject.toml | $(VENV)/bin/python
	$(call install,bench,$@)

$(VENV)/.pulser: requirements/pulser.txt pyproject.toml | $(VENV)/bin/python
	$(call install,pulser,$@)

$(VENV)/.official: requirements/official.txt pyproject.toml | $(VENV)/bin/python
	$(call install,official,$@)

$(VENV)/.official-pasqal: requirements/official-pasqal.txt pyproject.toml | $(VENV)/bin/python
	$(call install,official-pasqal,$@)
