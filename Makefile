# `make` alone prints help. Every recipe runs with the environment's programs first on PATH.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup clean demo ui status stop test check fix proof

PYTHON ?= python3.11
SOURCE ?= $(or $(REPRISE_SOURCE),ml-100k)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

##@ The environment: make setup PYTHON=/opt/python3.11/bin/python3.11

help: ## print this list
	@awk -F ':.*## ' ' \
		/^##@ / { split(substr($$0, 5), group, ": "); printf "%s%s        for example: %s\n", (n++ ? "\n" : ""), group[1], group[2] } \
		/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "variables"
	@echo "  SOURCE           source of demo, ui and status: ml-100k (default), ifdb, kuairand, kuairand-history,"; echo "                   movietweetings, or a TOML file"
	@echo "  JARS             further jars for setup: s3, for a lake or a log on S3"
	@echo "  REPRISE_HOME     folder of all state (default .reprise); removing it removes everything"
	@echo
	@echo "exit codes: 0 done; 2 failed, and the line above make's own says why. The codes of a cycle and its stages:"
	@echo "python -m pipeline --help; of the demo: python -m pipeline.local.demo --help"

setup: ## make the virtual environment and fetch the jars of Delta and Avro, once
	@command -v "$(PYTHON)" > /dev/null || { echo "set-up: $(PYTHON) was not found; install Python 3.11, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -P pipeline/setup/environment.py
	@python -m pipeline.setup.jars $(if $(JARS),--with "$(JARS)")

clean: ## remove the environment and the caches; state stays in REPRISE_HOME
	@rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "removed the environment and the caches; to remove all state too: rm -rf \"$${REPRISE_HOME:-.reprise}\""

##@ Cycles: make demo SOURCE=ifdb

demo: setup ## run two consecutive refresh cycles under a real Airflow and print one screen about them
	@python -m pipeline.local.demo --source "$(SOURCE)"

ui: setup ## start the pages of Airflow and MLflow on this machine
	@python -m pipeline.local --source "$(SOURCE)" start

# Without SOURCE it shows every source of the home.
status: ## list cycles, versions, and what is live
	@python -m pipeline status$(if $(filter-out file,$(origin SOURCE)), --source "$(SOURCE)")

stop: ## end what `make ui` or an interrupted demo left running
	@python -m pipeline.local stop

##@ Development: make check test

# Files in the order of collection, because the long end-to-end file comes early in it; sorted by their
# number of tests it would come last and run alone.
test: setup ## run the tests, in two processes
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup ## lint code, imports, YAML and images; changes nothing
	@ruff check .
	@ruff format --check .
	@lint-imports --no-cache
	@yamllint --strict .
	@check-jsonschema --quiet --builtin-schema vendor.compose-spec docker/compose.yaml
	@hadolint docker/Dockerfile

fix: setup ## repair what the linters can repair
	@ruff check --fix .
	@ruff format .

proof: setup ## run the long checks: real scheduler, real kills, real data
	@python -m pytest -m proof
