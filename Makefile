# An independent system operator for AI compute. `make` prints the targets.

PYTHON ?= python3
# Extra arguments of demo, serve, bench and test: make demo ARGS="--help"
ARGS ?=
# Test workers; 0 runs the tests in one process.
WORKERS ?= 2
# Rounds of each torture.
N ?= 1000

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS := $(wildcard $(addprefix tests/,unit property golden contract integration conformance simulation))
SOURCES := $(wildcard clearing settlement iso_exchange tests ops)

# Real traces and prices are optional: tests and replays that want them say plainly when they are absent.
ifndef ISO_DATA_DIR
ifneq ($(wildcard ../shared/data/.),)
export ISO_DATA_DIR := $(abspath ../shared/data)
endif
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo serve test torture check fmt proto proto-baseline golden bench bench-clearing bench-ledger bench-settlement bench-spot bench-growth replay replay-italy lock clean

help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv and install the locked dependencies and the project

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo "Compiling the search for large books, once (about a minute)"
	$(BIN)/python -m clearing.search.coordinate.warming
	@touch $@

demo: $(STAMP) ## Replay a market from orders to paid bills (ARGS="...")
	$(BIN)/python -m iso_exchange.replay.demo $(ARGS)

serve: $(STAMP) ## Run the whole exchange in one process group (ARGS="...")
	$(BIN)/iso serve $(ARGS)

test: $(STAMP) ## Run every test (ARGS="-k merkle", WORKERS=0 for one process)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --durations=10 $(TESTS) $(ARGS)

torture: $(STAMP) ## Kill, starve and forge the ledger N times over (N=1000, ARGS="kills --seed 7")
	$(BIN)/python -m tests.torture -n $(N) $(ARGS)

check: $(STAMP) ## Lint, types, import contracts, wire compatibility, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	@test -f proto/baseline.binpb || { echo "proto/baseline.binpb is missing: run 'make proto-baseline'" >&2; exit 1; }
	$(BIN)/buf breaking --against proto/baseline.binpb
	$(BIN)/python ops/ci/generate.py --check

fmt: $(STAMP) ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/buf format -w

proto: $(STAMP) ## Regenerate iso_exchange/api from proto/
	$(BIN)/python ops/ci/generate.py

proto-baseline: $(STAMP) ## Accept the present .proto files as the compatibility baseline
	$(BIN)/buf build --exclude-source-info -o proto/baseline.binpb

golden: $(STAMP) ## Rewrite the golden files; read the diff before committing it
	$(BIN)/python -m pytest -q tests/golden --rewrite-golden $(ARGS)

bench: $(STAMP) ## Time the engine, the services and the ledger (ARGS="...")
	$(BIN)/python -m tests.benchmarks $(ARGS)

bench-clearing: $(STAMP) ## Clear frozen grid books, and one big MILP beside each (ARGS="--size small")
	$(BIN)/python -m tests.benchmarks clearing $(ARGS)

bench-ledger: $(STAMP) ## Accept signed orders, verify a million entries, prove (ARGS="--size ...")
	$(BIN)/python -m tests.benchmarks orders ledger --all $(ARGS)

bench-settlement: $(STAMP) ## Settle one hour of a 1.2 GW grid, from signed readings on
	$(BIN)/python -m tests.benchmarks settlement --all $(ARGS)

bench-spot: $(STAMP) ## One run of a spot market from gate to awards, phase by phase (ARGS="--size 50k")
	$(BIN)/python -m tests.benchmarks spot $(ARGS)

bench-growth: $(STAMP) ## Plot how time and memory grow with orders, pools and intervals
	$(BIN)/python -m tests.benchmarks.growth $(ARGS)

replay-italy: $(STAMP) ## Clear an Italian day-ahead book and compare with what was published (DATA=dir)
	$(BIN)/python -m iso_exchange.replay.italy $(or $(DATA),$(ISO_DATA_DIR)/italy_mgp) $(ARGS)

# DAYS, and SPEED=max, the only speed: the clock is simulated and moves as soon as a run is over.
replay: $(STAMP) ## Replay a real trace through the exchange (TRACE=itp|earth DATA=dir REGIME=light|balanced|saturated DAYS=n FAULTS=node,site,...)
	$(BIN)/python -m iso_exchange.replay.trace.run --trace $(or $(TRACE),itp) --data $(or $(DATA),$(ISO_DATA_DIR)) \
		--regime $(or $(REGIME),saturated) $(if $(DAYS),--days $(DAYS)) \
		$(if $(FAULTS),--faults $(FAULTS)) $(ARGS)

lock: $(STAMP) ## Recompile requirements.lock (ARGS="--upgrade" for newer versions)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
		--custom-compile-command "make lock" --output-file requirements.lock $(ARGS) pyproject.toml

clean: ## Delete caches and build outputs; keeps .venv and var/
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
