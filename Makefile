# make train and make test do all the set-up themselves: a virtual environment in .venv, pinned by constraints.txt.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
AT_ONCE := -n 2 --dist loadfile

.PHONY: train test test-all faults lint docs bench-peers clean

train: $(READY)
	$(BIN)/python scripts/train_mlp.py

test: $(READY)
	$(BIN)/python -m pytest $(AT_ONCE) -m "not slow"

test-all: $(READY)
	$(BIN)/python -m pytest $(AT_ONCE)

# Kills, full disks, damage: many of each, and a table of what was lost. A part of it: .venv/bin/python tests/faults saving
faults: $(READY)
	$(BIN)/python tests/faults

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The reference of all public names, from their docstrings: build/reference/index.html
docs: $(READY)
	$(BIN)/python scripts/reference.py

# What scripts/benchmark compares with, in an environment of its own. `make bench-peers TORCH_INDEX=` asks PyPI alone.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
bench-peers:
	@test -n "$(PYTHON)" || { echo "tfcore needs Python 3.11, 3.12 or 3.13; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv-peers
	echo '*' > .venv-peers/.gitignore
	.venv-peers/bin/pip install --quiet --disable-pip-version-check \
		$(addprefix --extra-index-url=,$(TORCH_INDEX)) torch==2.13.0 jax==0.10.2 jaxlib==0.10.2 numpy

$(READY): setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "tfcore needs Python 3.11, 3.12 or 3.13; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache *.egg-info
