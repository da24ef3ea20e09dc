# Each target first installs the package, so `make example` and `make test` work in a new clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: example test test-slow test-slurm bench docs lint lock boutiques containers clean

example: $(VENV)/installed
	$(BIN)/opnmf-pipeline run configs/example.yaml

test: $(VENV)/installed
	$(BIN)/python -m pytest -m "not slow and not slurm"

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -m "slow and not slurm"

test-slurm: $(VENV)/installed
	$(BIN)/python -m pytest -m slurm

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks

docs: $(VENV)/installed
	$(BIN)/sphinx-build -E -W --keep-going -b html docs docs/_build/html

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock:
	containers/lock.sh

boutiques: $(VENV)/installed
	$(BIN)/python containers/boutiques.py

# Takes about 15 minutes. Needs root if no registry can be reached: containers/README.md
containers:
	nice containers/build-and-test.sh out/containers

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) out docs/_build docs/auto_examples docs/reference/api
