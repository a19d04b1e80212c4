# Everything a developer does. Needs Python 3.11 or newer, git and make; the rest comes with `make run` or `make test`.
.DEFAULT_GOAL := help
.PHONY: help run test test-databases test-processes coverage mutants check bench simulate format db worker scheduler clean

VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
# Variables of the command line (make run PORT=8080) reach the program through its environment.
PYTEST_ARGS ?=
SEED ?= 1
SEEDS ?= $(SEED)
STEPS ?= 2000
PROFILE ?=
MODE ?=
BALANCE ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## Run everything: Redis, database, sandbox, web, worker, scheduler (PORT=8080 moves it)
	@exec $(PY) -m devserver --end-with-parent

test: $(VENV)/.installed-dev ## Run the whole test suite (PYTEST_ARGS="-k name" to choose)
	@exec $(PY) -m pytest -n 3 $(PYTEST_ARGS)

test-databases: $(VENV)/.installed-dev ## The whole test suite, every test of the engine on both databases (3 minutes longer)
	@TEST_DATABASES=both exec $(PY) -m pytest -n 3 $(PYTEST_ARGS)

test-processes: $(VENV)/.installed-dev ## The long version of the tests that kill, stop and starve real processes (40 minutes)
	@PROCESS_TESTS=full exec $(PY) -m pytest -s tests/processes $(PYTEST_ARGS)

coverage: $(VENV)/.installed-dev ## Check that tests/core alone take every branch of core/
	@HYPOTHESIS_PROFILE=quick $(PY) -m coverage run -m pytest -q -p no:xdist --confcutdir=tests/core tests/core
	@$(PY) -m coverage report

mutants: $(VENV)/.installed-dev ## Change what core/ decides in small ways, one at a time: tests/core have to notice each (5 minutes)
	@rm -rf mutants
	@HYPOTHESIS_PROFILE=quick $(PY) -m mutmut run --max-children 2
	@$(PY) -m mutmut results >mutants/alive && ! grep . mutants/alive

check: $(VENV)/.installed-dev ## Check format, style and types (the tests are `make test`)
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

simulate: $(VENV)/.installed-dev ## Play seeded stories against the engine (SEED=1 or SEEDS=1-200, STEPS, PROFILE, MODE, BALANCE)
	@$(PY) -m tests.stateful.simulation --seeds "$(SEEDS)" --steps "$(STEPS)" \
	    --profile "$(PROFILE)" --mode "$(MODE)" --balance "$(BALANCE)"

bench: $(VENV)/.installed-dev ## Measure what matters, each figure beside its floor
	@for script in bench/*_*.py; do echo "== $$script"; $(PY) $$script || exit 1; done

format: $(VENV)/.installed-dev ## Put the code into its format
	@$(PY) -m ruff check --fix --quiet . ; $(PY) -m ruff format .

db: $(VENV)/.installed ## Create the database or bring it up to date
	@exec $(PY) -m flask --app app db upgrade

worker: $(VENV)/.installed ## One more worker beside a running `make run`
	@exec $(PY) -m jobs.worker

scheduler: $(VENV)/.installed ## One more scheduler beside a running `make run`
	@exec $(PY) -m jobs.scheduler

clean: ## Remove the virtual environment and caches; the data under var/ stays
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage mutants
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps hold what was installed, so that the next start is quick; a virtual environment that stopped working
# (a Python that was removed) is made anew.
$(VENV)/.installed: requirements.txt $(if $(shell $(PY) -c '' 2>/dev/null && echo works),,FORCE)
	@.ci/make-venv $(VENV)
	@echo "Installing the libraries (the first time only)"
	@$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing the libraries of the tests (the first time only)"
	@$(INSTALL) -r requirements-dev.txt
	@touch $@

.PHONY: FORCE
FORCE:
