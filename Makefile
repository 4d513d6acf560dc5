# Two commands do everything: `make run` serves the demo, `make test` runs every test.
# Both set up what is missing and can be run again at any time.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 8000
VENV := .venv/bin
STAMPS := .stamps
TESTS ?= tests
# One more than there are cores: tests wait for their servers now and then.
WORKERS ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))
STACKS ?= default outgrown

.PHONY: run test test-long baselines benchmark check format lock wheel clean

run: $(STAMPS)/run static/chatwidget/widget.js
	@PROVIDER_ALLOW_PRIVATE=true exec $(VENV)/python manage.py serve --demo --port $(PORT)

# On both stacks (tests/stack.py), also when the first fails. 5 is pytest's "none of these tests".
# A test that fails is asked once more, with the same seed, and named at the end: on a busy machine
# one of thousands may meet a moment that nobody meant. A server's traceback is not let off.
test: export SEED ?= $(shell date +%s)
test: $(STAMPS)/dev $(STAMPS)/frontend static/chatwidget/widget.js $(STAMPS)/chromium $(STAMPS)/nginx check
	cd frontend && npm test --silent
	@failed=; for stack in $(STACKS); do \
	  STACK=$$stack $(VENV)/python -m pytest -n $(WORKERS) --dist loadfile \
	    --reruns 1 --rerun-except Traceback -rfER $(TESTS) \
	    || [ $$? = 5 ] || failed="$$failed $$stack"; \
	done; [ -z "$$failed" ] || (echo "Failed on:$$failed" && false)

test-long: $(STAMPS)/dev $(STAMPS)/frontend static/chatwidget/widget.js $(STAMPS)/chromium
	LEASE_S=15 BEHIND=5 $(VENV)/python -m pytest -m long --timeout 7200 -p no:randomly $(TESTS)

# What the panel looks like in each state, anew: look at tests/widget/baselines before you commit.
baselines: $(STAMPS)/dev $(STAMPS)/frontend static/chatwidget/widget.js $(STAMPS)/chromium
	BASELINES=renew $(VENV)/python -m pytest -n 0 tests/widget/test_states.py

# Side by side with its peers; ARGUMENTS="--help" tells what can be chosen.
benchmark: $(STAMPS)/benchmarks
	@.venv-benchmarks/bin/python -m benchmarks $(ARGUMENTS)

check: $(STAMPS)/dev $(STAMPS)/frontend
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	$(VENV)/lint-imports
	$(VENV)/python manage.py makemigrations --check --dry-run
	cd frontend && npm run --silent check

format: $(STAMPS)/dev $(STAMPS)/frontend
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .
	cd frontend && npm run --silent format

# --- what the above stand on ---

$(STAMPS)/venv:
	$(PYTHON) -m venv .venv
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: requirements.txt | $(STAMPS)/venv
	$(VENV)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(STAMPS)/dev: requirements-dev.txt | $(STAMPS)/venv
	$(VENV)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@ $(STAMPS)/run

$(STAMPS)/benchmarks: benchmarks/requirements.txt
	test -d .venv-benchmarks || $(PYTHON) -m venv .venv-benchmarks
	.venv-benchmarks/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/requirements.txt
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/frontend: frontend/package-lock.json
	cd frontend && npm ci --silent
	@mkdir -p $(STAMPS) && touch $@

# A browser of the system, installed where there is none and we may.
$(STAMPS)/chromium:
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core) \
	  || (echo "Install Chromium first: its package is called chromium." && false)
	@mkdir -p $(STAMPS) && touch $@

# The proxy that docs/nginx.conf is for, likewise.
$(STAMPS)/nginx:
	@command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || (apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light) \
	  || (echo "Install nginx first: its package is called nginx-light." && false)
	@mkdir -p $(STAMPS) && touch $@

static/chatwidget/widget.js: $(STAMPS)/frontend $(shell find frontend/src -type f 2>/dev/null) frontend/build.mjs frontend/lexer-only.mjs frontend/package-lock.json
	cd frontend && npm run --silent build
	@touch $@

# --- for maintainers ---

# The lock files: one for running, one for developing, both with hashes and without addresses.
LOCK := uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet
lock:
	$(LOCK) -o requirements.txt
	$(LOCK) --group dev -c requirements.txt -o requirements-dev.txt
	$(LOCK) --group benchmarks -c requirements.txt -o benchmarks/requirements.txt

wheel: $(STAMPS)/dev static/chatwidget/widget.js
	$(VENV)/python -m build --no-isolation --wheel

clean:
	rm -rf .venv .venv-benchmarks .stamps .staticfiles dist static/chatwidget frontend/node_modules
