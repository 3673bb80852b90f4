# The environment is made once and reused while pyproject.toml stays as it is.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-long test-kinds test-install test-oldest check docs bench bench-check clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dynsel needs Python 3.11 or newer; name one by make PYTHON=python3.12")'
	@echo 'dynsel: what takes the time now is torch, 5 GB of the 6 that are installed; README.md says how to have its CPU build'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	touch $@

# Full data, random subsets, RRD and Hybrid on scikit-learn's digits: a table and pictures, in a few minutes.
demo: install
	@echo 'dynsel: twelve short trainings, then pictures; the first import of torch and Lightning takes a while'
	$(BIN)/dynsel compare --config recipes/digits.yaml --selectors full random rrd hybrid --seeds 3 --out runs/digits

# As many processes as cores: half an hour becomes ten minutes on two.
test: install
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

# What takes minutes: every kind of resume sweep, more processes, more random kills.
test-long: install
	$(BIN)/python -m pytest -m long

# The table of kinds of training with the libraries that its rows use, and how many of them work.
test-kinds: install
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev,kinds]'
	$(BIN)/python -m pytest tests/kinds tests/samplers/test_litdata.py
	$(BIN)/python tests/kinds/census.py

# Every way to install, in environments of their own, and what pyright and mypy find there.
test-install: install
	$(BIN)/python -m pip install --disable-pip-version-check pyright
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -m long tests/test_install.py

# Fabric, torchrun, FSDP2, accelerate and transformers, in several processes.
test-engines: install
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev,engines]'
	$(BIN)/python -m pytest tests/engines -m 'long or not long'

# The same tests on the oldest supported releases, in an environment of their own.
test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest -n logical --maxprocesses 8 --dist worksteal

.venv-oldest/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --disable-pip-version-check 'torch==2.6.*' 'torchvision==0.21.*' 'lightning==2.5.0.*' --editable '.[dev]'
	touch $@

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, from docs/ and the docstrings: open build/site/index.html.
docs: install
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Choosing, listening, gathered bytes and imports, as ratios, against the bounds in recipes/benchmarks/bounds.json.
bench-check: install
	$(BIN)/python recipes/benchmarks/check.py

bench: install
	$(BIN)/python recipes/benchmarks/overhead.py --large
	$(BIN)/python recipes/benchmarks/efficiency.py
	$(BIN)/python recipes/benchmarks/kills.py

clean:
	rm -rf $(VENV) .venv-oldest runs build *.egg-info .mypy_cache .pytest_cache .ruff_cache
