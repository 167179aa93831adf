# One door for people and for CI. Debian 12 needs git, make, python3 and python3-venv; all else comes from the locks.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
PYTHON ?= python3
BIN := .venv/bin
# -qq: errors only
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# what a check writes stays here, never in the user's own lab
SCRATCH := $(CURDIR)/build/check
check% test slow: export TENANT_LAB_HOME := $(SCRATCH)/home
check% test slow: export TENANT_LAB_KEY_FILE := $(SCRATCH)/master.key

# a report that lacks its weights says on its page which command fetches them
define ALL_REPORTS
@$(BIN)/tenant-lab demo
@$(BIN)/tenant-lab models pull musicnn spleeter-2stems || \
	echo "the pretrained weights could not be fetched: catalogue_sound will lack tags, moods and voices" >&2
@$(BIN)/tenant-lab report all
endef

.PHONY: help report lab test slow bench export lock clean \
	check-browser check-drift check-style check-notebooks check-pytest check-reports

help: ## print these lines
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

report: .venv/.demo ## install what the demo tenants need, make them and run every report
	$(ALL_REPORTS)

lab: .venv/.all ## install everything and open JupyterLab
	@$(BIN)/jupyter lab $$([ $$(id -u) != 0 ] || echo --allow-root)

test: .venv/.dev check-browser check-drift check-style check-notebooks check-pytest check-reports ## every check but the slow ones
	@cat $(SCRATCH)/notes; echo "make test: every step passed"

slow: .venv/.dev ## the slow tests and the notebooks' slow cells; writes build/slow.json
	@$(BIN)/pytest -m slow --timeout 0 --slow-json build/slow.json || [ $$? = 5 ]  # 5: no test is marked slow
	@$(BIN)/nbdev-test --flags slow --n-workers 2

bench: .venv/.dev ## speed beside peers; AREA=core for one area; writes build/bench.json
	@$(BIN)/python tests/bench/run.py $(AREA)

export: .venv/.dev ## clean the notebooks and write tenant_lab/ and README.md from them
	@$(BIN)/nbdev-clean && $(BIN)/nbdev-export && $(BIN)/python tests/project/readme.py

# `all` is solved first, and the smaller locks take its versions: one version of a package everywhere.
UV := build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-header $(FLAGS)
lock: ## solve the locks in requirements/ again; FLAGS=--upgrade for newer versions
	@$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet --disable-pip-version-check uv
	$(UV) pyproject.toml --extra all -o requirements/all.txt
	$(UV) pyproject.toml --extra dev -c requirements/all.txt -o requirements/dev.txt
	$(UV) pyproject.toml --extra audio --extra deep --extra models --extra demo -c requirements/all.txt -o requirements/demo.txt
	$(UV) pyproject.toml -c requirements/all.txt -o requirements/core.txt
	@for source in requirements/*.in; do $(UV) $$source -o $${source%.in}.txt || exit 1; done

clean: ## remove everything that make made, the environments too
	rm -rf .venv .envs build dist .coverage* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# ---- environment -------------------------------------------------------------------------------------------------
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
		echo "tenant_lab needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

# the stamp makes a second call quick; a changed lock installs again. --no-deps: a lock is whole, and pip, where it resolves,
# refuses a pinned package that another one wants with extras as soon as a newer version is out
.venv/.%: requirements/%.txt requirements/build.txt pyproject.toml | .venv/bin/pip
	@echo "== environment: installing requirements/$*.txt (minutes, the first time)"
	@$(PIP) install --no-deps --require-hashes -r requirements/$*.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) check
	@touch $@

# ---- the steps of `make test`, in its order ----------------------------------------------------------------------
check-browser:
	@rm -rf $(SCRATCH) && mkdir -p $(SCRATCH)
	@tests/project/chromium.sh > $(SCRATCH)/notes

check-drift:
	@echo "== notebooks are clean, and tenant_lab/ and README.md are what they export"
	@$(BIN)/nbdev-clean && $(BIN)/nbdev-export && $(BIN)/python tests/project/readme.py
	@[ -e .git ] || { echo "no git checkout: drift cannot be seen"; exit 0; }; \
	changed=$$(git status --porcelain -- nbs tenant_lab README.md) || exit 1; [ -z "$$changed" ] || { echo "$$changed"; \
		echo "nbs/, tenant_lab/ or README.md differs from the last commit: commit notebooks together with what they export" >&2; exit 1; }

check-style:
	@echo "== ruff, mypy, import-linter"
	@$(BIN)/ruff check --quiet tenant_lab tests
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check-notebooks:
	@echo "== notebooks run"
	@$(BIN)/nbdev-test --n-workers 2
	@echo "$$(find nbs -name '[!._]*.ipynb' -not -path '*/.*' | wc -l) notebooks run"

check-pytest:
	@echo "== pytest"
	@$(BIN)/pytest -n 2 --cov --cov-report=term

check-reports:
	@echo "== the demo tenants and every report, in a lab of their own"
	@rm -rf $(SCRATCH)/home $(SCRATCH)/master.key
	$(ALL_REPORTS)
