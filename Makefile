# Each target first installs the package, so `make example` and `make test` work in a new clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest

# Two processes share the tests; those of a file stay together, because they share what was run once
PARALLEL := --numprocesses 2 --dist loadfile

# The tests must run 95 % of the lines of each of these rooms
COVERED := decomposition selection images

.PHONY: example test coverage test-slow test-robustness test-slurm test-lowest faults bench docs dist lint lock boutiques containers clean

example: $(VENV)/installed
	$(BIN)/opnmf-pipeline run configs/example.yaml

test: $(VENV)/installed
	$(BIN)/python -m pytest -m "not slow and not slurm" $(PARALLEL)

# Runs the same tests. Lines that run in worker processes of joblib or of an engine do not count.
coverage: $(VENV)/installed
	$(BIN)/python -m pytest -m "not slow and not slurm" $(PARALLEL) --cov --cov-report=term
	@for room in $(COVERED); do \
		echo; echo "$$room, 95 % required:"; \
		$(BIN)/coverage report --include="opnmf_pipeline/$$room/*" --skip-covered --fail-under=95 || exit 1; \
	done

# The long tests of tests/robustness take more than an hour: `make test-robustness` runs them
test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -m "slow and not slurm" --ignore=tests/robustness

# Runs all tests of tests/robustness, and the generated ones with 40 times as many cases
test-robustness: $(VENV)/installed
	OPNMF_CASES=40 $(BIN)/python -m pytest tests/robustness

test-slurm: $(VENV)/installed
	$(BIN)/python -m pytest -m slurm

# Runs the tests of the core with the lowest versions that pyproject.toml allows. Warnings of these
# old versions are no errors.
test-lowest: $(LOWEST)/installed
	$(LOWEST)/bin/python -m pytest -m "not slow and not slurm" -o filterwarnings=error::RuntimeWarning \
		tests/config tests/dataset tests/decomposition tests/selection tests/images tests/stages tests/nodes

# Plants the faults of tests/faults.yaml: CONTRIBUTING.md
faults: $(VENV)/installed
	nice $(BIN)/python scripts/plant_faults.py

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks

docs: $(VENV)/installed
	$(BIN)/sphinx-build -E -W --keep-going -b html docs docs/_build/html

# Builds sdist and wheel in out/dist, and tests the wheel in a new environment outside the checkout
dist: $(VENV)/installed
	scripts/check_dist.sh $(BIN)/python out/dist

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

# Makes a new environment each time: an old one would keep its versions
$(LOWEST)/installed: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) out docs/_build docs/auto_examples docs/reference/api
