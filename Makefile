# `make run` and `make test` need Python 3.11 or newer and the package registry, nothing else.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check format bench clean

run: $(VENV)/run.stamp  ## measure every codec at hand on the embedded photographs
	$(BIN)/lic-bench run --codecs all --dataset sample

test: check  ## the linters and every test
	$(BIN)/python -m pytest

check: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
# mypy does not follow the mapping of codecs/ and datasets/ into the package: it gets them in place.
	rm -rf build/typed && mkdir -p build/typed && cp -r lic_bench build/typed
	cp -r codecs datasets build/typed/lic_bench
	MYPYPATH=build/typed $(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# CompressAI wants another NumPy than we do by default, and 2 GB: it gets an environment of its own.
bench: .venv-bench/stamp  ## against CompressAI's bench, and what the harness itself costs
	.venv-bench/bin/python tests/benchmarks/against_compressai.py
	.venv-bench/bin/python tests/benchmarks/harness.py

clean:
	rm -rf $(VENV) .venv-bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "lic-bench needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[learned]'
	touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.venv-bench/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@
