# The environment is made once and reused while pyproject.toml stays as it is.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-long test-kinds test-oldest check bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dynsel needs Python 3.11 or newer; name one by make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	touch $@

# Full data, random subsets, RRD and Hybrid on scikit-learn's digits: a table and pictures, in a few minutes.
demo: install
	$(BIN)/dynsel compare --config recipes/digits.yaml --selectors full random rrd hybrid --seeds 3 --out runs/digits

test: install
	$(BIN)/python -m pytest

# What takes minutes: every kind of resume sweep, more processes, more random kills.
test-long: install
	$(BIN)/python -m pytest -m long

# The table of kinds of training with the libraries that its rows use, and how many of them work.
test-kinds: install
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev,kinds]'
	$(BIN)/python -m pytest tests/kinds tests/samplers/test_litdata.py
	$(BIN)/python tests/kinds/census.py

# The same tests on the oldest supported releases, in an environment of their own.
test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest

.venv-oldest/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --disable-pip-version-check 'torch==2.6.*' 'torchvision==0.21.*' 'lightning==2.5.0.*' --editable '.[dev]'
	touch $@

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python recipes/benchmarks/overhead.py --large
	$(BIN)/python recipes/benchmarks/efficiency.py
	$(BIN)/python recipes/benchmarks/kills.py

clean:
	rm -rf $(VENV) .venv-oldest runs build *.egg-info .mypy_cache .pytest_cache .ruff_cache
