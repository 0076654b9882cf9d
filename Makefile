PYTHON ?= python3
UV ?= uv

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

# Reads a lock file and leaves out torch as PyPI has it for Linux: 3 GB, most of it CUDA.
WITHOUT_CUDA := sed -E '/^(torch|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==/,/[^\\]$$/d'

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test chaos paper labels study delivery bench bench-peers latency flat lint format lock clean python broker-tools

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: python .venv/.installed  ## install into .venv; TORCH=cpu leaves out CUDA (3 GB less)

demo: setup  ## the whole story in one terminal, on an embedded broker
	@$(BIN)/python -m consumer demo

test: python broker-tools setup lint  ## every check and test, against a real Kafka broker
	@$(BIN)/python -m pytest -n 3 --dist worksteal

chaos: python broker-tools setup  ## kills, lost disks and broker outages over 200,000 rows; minutes
	@$(BIN)/python -m pytest -m chaos -s

paper: python broker-tools setup  ## the published experiment through Kafka, digit for digit
	@$(BIN)/python -m benchmarks.paper

labels: python broker-tools setup  ## labels a week late: HANDBOOK=/path/to/its/transactions.parquet
	@$(BIN)/python -m benchmarks.labels $(HANDBOOK)

study: setup  ## is healing worth having: every drift, every way labels come; an hour
	@$(BIN)/python -m benchmarks.study

delivery: python broker-tools setup  ## what exactly-once costs, and restarts
	@$(BIN)/python -m benchmarks.delivery

bench: python broker-tools setup  ## how fast the whole system is beside the raw client; minutes
	@$(BIN)/python -m benchmarks.throughput

bench-peers: python broker-tools setup  ## other stream processors at the same work; half an hour
	@$(BIN)/python -m benchmarks.peers

latency: python broker-tools setup  ## from sending to reading, and what healing costs; half an hour
	@$(BIN)/python -m benchmarks.latency

flat: python broker-tools setup  ## what grows with features, partitions, rows held, time; an hour
	@$(BIN)/python -m benchmarks.flat

lint: setup  ## formatting, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: setup  ## format in place
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# The second file is what the container image installs: no test tools, torch from its CPU index.
lock:  ## pin every dependency again from pyproject.toml; needs uv
	@$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' --extra dev pyproject.toml -o requirements.txt
	@$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command 'make lock' --constraint requirements.txt pyproject.toml \
		| $(WITHOUT_CUDA) > deploy/requirements.txt

clean:  ## remove what these targets made
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/broker/.jars \
		build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@command -v $(PYTHON) > /dev/null || { \
		echo "Python 3.11 or later is needed and $(PYTHON) is not found: https://www.python.org" \
			"(or: make PYTHON=/path/to/python3.11 ...)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is \
	needed and $(PYTHON) is %d.%d: make PYTHON=/path/to/python3.11 ..." % sys.version_info[:2])'

broker-tools: python
	@$(PYTHON) tests/broker/tools.py

.venv/.installed: pyproject.toml requirements.txt
	@echo "Installing into .venv: minutes the first time, nothing after that."
	@$(PYTHON) -m venv .venv
ifeq ($(TORCH),cpu)
	@$(WITHOUT_CUDA) requirements.txt > .venv/requirements.txt
	@$(PIP) install --no-deps --index-url $(TORCH_CPU_INDEX) \
		"$$(sed -n 's/^ *"\(torch==[^"]*\)",$$/\1/p' pyproject.toml)"
	@$(PIP) install --require-hashes --requirement .venv/requirements.txt
else
	@$(PIP) install --require-hashes --requirement requirements.txt
endif
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
