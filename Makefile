# One command a job. Set-up happens by itself, once, and again when a lock changes.
#   make femnist PYTHON=/path/to/python3.12     another interpreter
#   make test ARGS="-k leaf"                    arguments for what is run, here pytest
#   make test ARGS="-m slow"                    the slow tests; ARGS="-m ''" is all tests
#   make test WORKERS=8                         as many processes, 2 GB each

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# Of another environment: make setup VENV=... LOCK=...
LOCK := requirements.lock
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Modules are compiled when first imported, not all 17,000 here: 45 s less.
INSTALL := $(PIP) install --quiet --no-compile
ARGS ?=
WORKERS ?= 2

# On Linux, PyPI's torch brings several GB of CUDA packages. Without an NVIDIA GPU the
# CPU build of PyTorch's own index is preferred, where that index can be reached.
# `make femnist TORCH_INDEX=` leaves it out.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)

# Nothing here reports home: kedro-telemetry, MLflow and the Hugging Face hub all
# read this (MLflow wants the word, not 1).
export DO_NOT_TRACK := true

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev femnist federation test coverage lint format docs notebook viz ui fetch \
	lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) \
		| awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## install what a run needs into .venv
setup-dev: $(VENV)/.ready-dev ## and what tests, linters and docs need

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No python3 found. Install Python 3.11 or newer," \
		"or name one: make femnist PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), but Python 3.11 or newer is" \
		"needed. Name one: make femnist PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment could" \
		"be made; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

# torch first, alone, so that only it may come from TORCH_INDEX. The index is probed,
# since pip would ask an unreachable one several times for each package. The others are
# held to their hashes; last comes what another platform needs beyond the lock, such as
# the CUDA packages of PyPI's torch.
$(VENV)/.ready: $(LOCK) pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) (2 GB, about 2 minutes): torch"
	@index=$(TORCH_INDEX); $(BIN)/python -c "import sys, urllib.request; \
		urllib.request.urlopen(sys.argv[1], timeout=5)" "$$index/torch/" 2> /dev/null \
		|| index=; $(INSTALL) --no-deps \
		$$(grep ^torch== $(LOCK)) $${index:+--extra-index-url $$index}
	@echo "  and $$(grep -c == $(LOCK)) packages around it"
	@$(INSTALL) --no-deps --require-hashes -r $(LOCK)
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.lock
	@echo "  and $$(grep -c == requirements-dev.lock) for tests, linters and docs"
	@$(INSTALL) --no-deps --require-hashes -r requirements-dev.lock
	@$(INSTALL) --no-build-isolation --editable '.[test,docs,dask,privacy]'
	@touch $@

femnist: setup ## the main job: FEMNIST, FedAvg against FedMeta
	$(BIN)/kedro run --pipeline femnist_fedmeta

FEDERATION := .venv-federation
federation: ## Flower: three nodes on this machine, FedAvg against MAML
	@echo "About 6 minutes, of which 2 are the set-up, once"
	@$(MAKE) --no-print-directory setup VENV=$(FEDERATION) \
		LOCK=requirements-federation.lock
	$(FEDERATION)/bin/python tools/federation.py $(ARGS)

# Of several -m, pytest takes the last: one in ARGS counts.
test: setup-dev ## the quick tests; FEMNIST=, SHAKESPEARE=, SENT140=, USAGE_LOG= add some
	@echo "All of the quick tests take about 10 minutes on 2 cores"
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(ARGS)

# Tracing costs a third of the time: so not of all tests, which covered 98 % of the whole
# package when it was last measured (make test ARGS=--cov).
COVERED := core data models benchmarks/table serving/test_personalise.py
coverage: setup-dev ## that tests run what makes numbers, line by line
	@echo "About 3 minutes on 2 cores"
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" -q \
		$(addprefix --cov=fedmeta.,core data models) \
		$(addprefix tests/,$(COVERED))

lint: setup-dev ## ruff, the import layers and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: setup-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: export NO_MKDOCS_2_WARNING := 1
docs: setup-dev ## build the documentation into site/
	$(BIN)/mkdocs build --strict

notebook: setup-dev ## execute the notebooks, which read the last `make femnist`
	$(BIN)/jupyter execute notebooks/*.ipynb

viz: setup ## the pipeline in a browser, http://127.0.0.1:4141
	$(BIN)/kedro viz run --host 127.0.0.1 --port 4141 --no-browser

# Without job execution and with one worker MLflow takes 2 processes and 0.6 GB
# in place of 14 and 4.4 GB.
ui: setup ## the tracked runs in a browser, http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
		$(BIN)/mlflow ui --host 127.0.0.1 --port 5000 --workers 1

DATA ?= femnist
fetch: setup ## download real data into data/01_raw; DATA=shakespeare, DATA=sent140 ARGS=--glove
	$(BIN)/python -m fedmeta.benchmarks.$(DATA).fetch $(ARGS)

UV := uv==0.13.9
lock: setup-dev ## resolve the lock files anew from pyproject.toml
	@$(BIN)/python -m venv build/uv && build/uv/bin/pip install --quiet $(UV)
	$(PIP) install --dry-run --ignore-installed --quiet --report build/run.json .
	$(PIP) install --dry-run --ignore-installed --quiet --report build/dev.json \
		'.[test,docs,dask,privacy]'
	$(PIP) install --dry-run --ignore-installed --quiet --report build/federation.json \
		'.[federation]'
	$(BIN)/python tools/lock.py build/run.json > requirements.lock
	$(BIN)/python tools/lock.py build/federation.json > requirements-federation.lock
	$(BIN)/python tools/lock.py build/dev.json build/run.json > requirements-dev.lock

clean: ## remove the environment and everything built, but no data and no tracked run
	rm -rf $(VENV) $(FEDERATION) build site .pytest_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
