PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-long fuzz check bench proto clean
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

test: .venv/ready ## run the tests, the long ones left out
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long'

test-long: .venv/ready ## run every test, the long ones too
	$(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: .venv/ready ## search 200,000 campaign files for one that breaks the reader; FUZZ='--runs N --seed S'
	$(BIN)/python tests/hostile_campaigns.py $(FUZZ)

check: .venv/ready ## lint, types, layers, protocol
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/baseline.binpb

bench: .venv/ready ## measure speed; every figure beside its ratio to the bare driver
	for benchmark in benchmarks/*.py; do $(BIN)/python $$benchmark || exit 1; done

proto: .venv/ready ## regenerate the stubs from proto/quanlian/v1/*.proto
	$(BIN)/python proto/generate.py

clean: ## remove everything that is not in the repository
	rm -rf .venv .quanlian dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
