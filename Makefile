# The commands of the house. Each makes .venv itself if it is missing, or if pyproject.toml has changed since.

VENV ?= .venv
PY := $(VENV)/bin/python
# More for pytest: make test ARGS="-k lease -x"
ARGS ?=

# The oldest supported Python first, so that nothing newer than it slips in. Each is asked to run, because a name on PATH
# may be a shim of pyenv with nothing behind it, or a Python that was packaged without venv or pip.
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	if $$name -c '$(USABLE)' > /dev/null 2>&1; then echo $$name; break; fi; done)

# Named by the content of pyproject.toml, so a checkout of another commit installs what that commit needs.
INSTALLED := $(VENV)/.installed-$(shell cksum < pyproject.toml | cut -d ' ' -f 1)

# Four at once also where there are more cores: tests of leases and deadlines should not wait for a core.
WORKERS := -n auto --maxprocesses 4 --dist worksteal
PYTEST := $(PY) -m pytest $(WORKERS)

# Where it is set, `make test` measures which branches the tests take, and `make coverage` reports that instead of running them again.
MEASURE ?=
MEASURED := $(PY) -m coverage run -m pytest $(WORKERS) -m "not proof"

# What was compiled is kept, whatever the surroundings say: each worker of pytest, and each process that a test starts, would do it again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what can be made.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

.PHONY: test
test: $(INSTALLED) ## Run every test.
ifdef MEASURE
	$(PY) -m coverage erase
	$(MEASURED) $(ARGS)
	$(PYTEST) -m proof tests/proof tests/simulation $(ARGS)
else
	$(PYTEST) $(ARGS)
endif

.PHONY: services
services: ## Install what the tests run beside Python, where that can be done: pgbouncer, ip, nft, chromium.
	scripts/test_services.sh

.PHONY: stores
stores: $(INSTALLED) ## Run the suite of stores in full for PostgreSQL's second way of claiming, and behind a pooler.
	STEPWELL_TEST_STORES=all $(PYTEST) tests/store -k "by-updates or pooled" $(ARGS)

.PHONY: troubles
troubles: $(INSTALLED) ## Trouble servers, files and schedules for as long as in real life, under load.
	STEPWELL_TEST_LONG=1 $(PYTEST) tests/faults/test_servers.py tests/faults/test_machines.py tests/faults/test_schedules.py \
		tests/faults/test_schedule_times.py tests/faults/test_sharing.py $(ARGS)

.PHONY: check
check: lint typing coverage package ## Run all that CI checks besides the tests.

.PHONY: lint
lint: $(INSTALLED) ## Check format, style, layers, dead code, dependencies and spelling.
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(VENV)/bin/lint-imports --no-logo
	$(PY) -m vulture
	$(PY) -m deptry src
	$(VENV)/bin/codespell

.PHONY: typing
typing: $(INSTALLED) ## Check the types of the code, and those that users see.
	$(PY) -m mypy
	$(PY) -m pyright

.PHONY: coverage
coverage: $(INSTALLED) ## Measure which branches the tests take, the long proofs left out.
ifndef MEASURE
	$(PY) -m coverage erase
	$(MEASURED) --quiet $(ARGS)
endif
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

.PHONY: package
package: $(INSTALLED) ## Build the archive and the wheel, and look into both.
	rm -rf dist
	$(PY) -m build --outdir dist
	$(PY) -m scripts.distributions dist

.PHONY: format
format: $(INSTALLED) ## Put the code into its format, and mend what can be mended without thought.
	$(PY) -m ruff check --fix-only
	$(PY) -m ruff format

.PHONY: demo
demo: $(INSTALLED) ## Send two thousand mails, kill the worker half-way, and count.
	$(PY) -m examples.demo $(ARGS)

.PHONY: bench
bench: $(INSTALLED) ## Measure how fast it is.
	$(PY) -m benchmarks $(ARGS)

.PHONY: pages
pages: $(INSTALLED) ## Measure how long pages take with a million runs, and their first paint.
	$(PY) -m benchmarks.pages $(ARGS)

.PHONY: pictures
pictures: $(INSTALLED) ## Make the pictures of the web interface in docs/images anew.
	$(PY) -m scripts.screenshots $(ARGS)

.PHONY: proof
proof: $(INSTALLED) ## Replay crashes at every commit, in many more orders than `make test` does.
	$(PY) -m tests.proof $(ARGS)

.PHONY: simulation
simulation: $(INSTALLED) ## Simulate workers, clients and an operator in a world that fails, from a thousand seeds.
	$(PY) -m tests.simulation --seeds 1000 $(ARGS)

.PHONY: versions
versions: $(INSTALLED) ## Go on with histories of one Python in another, for every Python here.
	$(PY) -m tests.proof.versions $(ARGS)

.PHONY: clean
clean: ## Remove all that these commands have made.
	rm -rf $(VENV) dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks examples scripts -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED):
	@$(PY) -c 'import pip; $(USABLE)' 2> /dev/null || { \
		test -n "$(PYTHON)" || { echo 'no Python 3.11 or newer with venv and pip is on PATH; install one, or name it: make PYTHON=…' >&2; exit 1; }; \
		"$(PYTHON)" -m venv --clear $(VENV); }
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@rm -f $(VENV)/.installed-*
	@touch $@
