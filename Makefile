# `make` alone prints this help. Every recipe runs with the environment's programs first on PATH.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix ui stop status proof clean

PYTHON ?= python3.11
SOURCE ?= $(or $(REPRISE_SOURCE),ml-100k)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  SOURCE=ifdb      another source for demo, ui and status (ml-100k, ifdb, kuairand, movietweetings, my.toml)"
	@echo "  REPRISE_HOME     folder of all state (default .reprise); removing it removes everything"

setup: ## make the environment and fetch Delta's jars, once
	@command -v "$(PYTHON)" > /dev/null || { echo "set-up: $(PYTHON) was not found; install Python 3.11, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -P pipeline/setup/environment.py
	@python -m pipeline.setup.jars

demo: setup ## two consecutive refresh cycles under a real Airflow, and one screen about them
	@python -m pipeline.local.demo --source "$(SOURCE)"

# In order of collection, where the long end-to-end file comes early; else files with many tests come first.
test: setup ## run the tests, in two processes
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup ## look for faults; changes nothing
	@ruff check .
	@ruff format --check .
	@lint-imports --no-cache
	@yamllint --strict .
	@check-jsonschema --quiet --builtin-schema vendor.compose-spec docker/compose.yaml
	@hadolint docker/Dockerfile

fix: setup ## mend what can be mended by itself
	@ruff check --fix .
	@ruff format .

ui: setup ## start the pages of Airflow and MLflow on this machine
	@python -m pipeline.local.services --source "$(SOURCE)" start

stop: ## end what `make ui` or an interrupted demo left running
	@python -m pipeline.local.services stop

# Without SOURCE it shows every source of the home.
status: ## cycles, versions, and what is live
	@python -m pipeline status$(if $(filter-out file,$(origin SOURCE)), --source "$(SOURCE)")

proof: setup ## the long checks: real scheduler, real kills, real data
	@python -m pytest -m proof

clean: ## remove the environment and the caches; state stays in REPRISE_HOME
	@rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "removed the environment and the caches; to remove all state too: rm -rf \"$${REPRISE_HOME:-.reprise}\""
