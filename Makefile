# make run    train, distil and compare on the embedded glyphs (no network, no GPU); runs whose records are in $(RESULTS) are done
# make test   lint, types and the whole test suite
PYTHON ?= python3
VENV ?= .venv
RESULTS ?= results
# The versions that the committed results were made with; pyproject.toml has the ranges that work.
# On a machine with a GPU: make run TORCH="torch torchvision"
TORCH ?= torch==2.14.1 torchvision==0.29.1

python := $(VENV)/bin/python

.PHONY: run test clean

run: $(VENV)/.installed
	$(python) -m benchmark run --dataset glyphs --preset quick --results $(RESULTS)

test: $(VENV)/.installed-dev
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy benchmark
	$(python) -m pytest -n 2

$(python):
	$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + v + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: | $(python)
	$(python) -m pip install --quiet $(TORCH)
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.torch
	$(python) -m pip install --quiet --editable '.[weights]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.torch
	$(python) -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info
