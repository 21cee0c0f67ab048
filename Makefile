# The project's commands. `make` lists them.
PYTHON ?= $(notdir $(firstword $(shell command -v python3.11 python3.12 python3.13 python3)))
VENV := .venv
BIN := $(VENV)/bin
STORE ?= store
RUN ?= demo
JOB ?= pipeline
CONFIG ?=
ADDRESS ?=
# whether a variable was named on the command line; its default is the demo's
given = $(filter command,$(origin $(1)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench up submit down lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## Make .venv with the locked dependencies (done once)

$(VENV)/.installed: requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "This needs Python 3.11, 3.12 or 3.13; name yours by PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

demo: setup  ## Run the pipeline on the embedded demo market; prints the shortlist and the report's path
	$(BIN)/python -m jobs.pipeline --source demo --store $(STORE) --run $(RUN)

test: setup  ## Run the test suite, two files at a time (make test ARGS="-k store")
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup  ## Check format, lint, types and the dependency contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup  ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## Run the quick benchmarks; the long ones are named in docs/benchmarks.md
	for name in features windows; do $(BIN)/python -m benchmarks.$$name || exit 1; done

up: setup  ## Start the cluster of cluster.yaml in the cloud, with this machine's token
	@test -s $(HOME)/.ray/auth_token || $(BIN)/ray get-auth-token --generate >/dev/null
	$(BIN)/ray up --yes cluster.yaml

# make itself ends with 2 whatever a job ends with; the command below, given by hand, ends with the job's own code
submit: setup  ## Submit a job to a running cluster and follow it: make submit JOB=pipeline CONFIG=run.toml RUN=first
	@$(BIN)/python -m jobs.submit $(JOB) $(if $(CONFIG),--config $(CONFIG)) $(if $(ADDRESS),--address $(ADDRESS)) \
		$(if $(call given,STORE),--store $(STORE)) $(if $(call given,RUN),--run $(RUN)) $(ARGS)

down: setup  ## Stop that cluster
	$(BIN)/ray down --yes cluster.yaml

lock:  ## Resolve the dependencies again (needs uv); writes no registry address
	uv pip compile pyproject.toml --extra cpu --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --output-file requirements.lock
	uv pip compile pyproject.toml --extra gpu --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --output-file requirements-gpu.lock

clean:  ## Remove what the demo and the tests leave behind
	rm -rf store .pytest_cache .mypy_cache .ruff_cache .hypothesis
