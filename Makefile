PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench proto clean test-long
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Quanlian needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/ready ## run the network's main job: five nodes, a clearinghouse, real redemptions
	$(BIN)/quanlian demo

test: .venv/ready ## run every test
	$(BIN)/python -m pytest

check: .venv/ready ## lint, types, layers, protocol
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/baseline.binpb

proto: .venv/ready ## regenerate the stubs from proto/quanlian/v1/*.proto
	$(BIN)/python proto/generate.py

clean: ## remove everything that is not in the repository
	rm -rf .venv .quanlian dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
