# Manor. `make` alone lists the targets. Everything a target needs it installs first; a second run takes seconds.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export UV_PYTHON_DOWNLOADS := never
export DEBIAN_FRONTEND := noninteractive
# The tests start hundreds of processes: one that keeps nothing compiled would compile everything anew in each.
export PYTHONDONTWRITEBYTECODE :=

STAMPS := .stamps
VENV := .venv/bin
ON_POSTGRESQL := PYTHONPATH=core/tests $(VENV)/pytest -p on_postgresql -m "not slow and not real and not long" -n 3 -q
UV := $(or $(shell command -v uv 2>/dev/null),$(STAMPS)/tools/bin/uv)
PYPROJECTS := pyproject.toml uv.lock $(wildcard core/pyproject.toml plugins/*/pyproject.toml)
PACKAGES = $(shell sed -e 's/\#.*//' debian-packages.txt)
MISSING = $(shell for p in $(PACKAGES); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)

.PHONY: help setup demo demo-heal test test-fast test-long lint fix docs bench clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(STAMPS)/debian $(STAMPS)/workspace ## install Debian packages and the Python workspace

demo: setup ## deploy descriptors/secure-web for real, prove it by traffic, remove it (KEEP=1 leaves it up)
	$(VENV)/python descriptors/secure-web/demo.py $(if $(KEEP),--keep)

demo-heal: setup ## break secure-web for real and see it healed: QEMU killed, serve killed in the heal, a dead source, a sick guest, a crowd
	$(VENV)/python descriptors/secure-web/demo_heal.py

test: setup lint test-fast ## the whole suite, on real libvirt, QEMU and Open vSwitch; needs root
	$(VENV)/pytest -m "slow and not real and not long" -n 3 --dist loadfile -q
	$(ON_POSTGRESQL) core/tests/store core/tests/lcm/test_engine.py core/tests/assure/test_alarm_store.py tests/cli
	$(VENV)/pytest -m "real and not long" core/tests plugins -n 3 --dist loadfile -q
	$(VENV)/pytest -m "real and not long" tests -n 3 --dist loadfile --no-loadscope-reorder

test-fast: setup ## the quick part of the suite, within two minutes
	$(VENV)/pytest -m "not real and not slow and not long" -n 3 --dist loadfile -q

test-long: setup ## the long runs: crashes, histories and outages by the hundred; takes hours
	PYTHONPATH=core/tests $(VENV)/pytest -p on_postgresql -m "not real and not long" -n 3 -q core/tests plugins tests
	$(VENV)/python core/tests/lcm/many_histories.py --histories 10000 --seed 1 --processes 2
	$(VENV)/pytest -m long

lint: $(STAMPS)/workspace ## ruff, mypy, import contracts
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports

fix: $(STAMPS)/workspace ## let ruff mend what it can
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

docs: setup ## try every example of the documents
	$(VENV)/pytest tests/docs

bench: setup ## figures as JSON lines; NAME=x runs one
	$(VENV)/python benchmarks/run.py $(NAME)

clean: ## remove what these targets built in the tree
	rm -rf $(STAMPS) .venv build dist

$(STAMPS)/debian: debian-packages.txt
	@mkdir -p $(STAMPS)
	@if [ -n "$(strip $(MISSING))" ]; then \
	    [ "$$(id -u)" = 0 ] || { echo "as root: apt-get install $(MISSING)" >&2; exit 1; }; \
	    apt-get update -qq; \
	    apt-get install -y -qq --no-install-recommends $(MISSING); \
	fi
	@touch $@

$(STAMPS)/tools/bin/uv: | $(STAMPS)/debian
	python3 -m venv $(STAMPS)/tools
	$(STAMPS)/tools/bin/pip install -q --disable-pip-version-check uv

$(STAMPS)/workspace: $(PYPROJECTS) $(if $(findstring $(STAMPS),$(UV)),$(STAMPS)/tools/bin/uv) | $(STAMPS)/debian
	$(UV) sync -q --frozen --inexact
	@touch $@
