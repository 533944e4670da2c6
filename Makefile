# Everything sets itself up: only Python 3.11+, make, git and pip are needed. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
EXTRAS := train,space,serve,ray,ocr,heic,vlm,dev
RECIPE ?= tiny
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_DISABLE_TELEMETRY ?= 1
export GRADIO_ANALYTICS_ENABLED ?= False

.PHONY: help setup release test test-fast test-browser test-oldest test-newest chaos licenses audit lint bench coverage selftest rehearsal space base embed clean

help:  ## list every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt torch
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

setup: $(INSTALLED)  ## make the virtual environment (every other target does this by itself)

release: $(INSTALLED)  ## build, distil, measure, stage and verify; with NAMESPACE= and HF_TOKEN= also push
	@$(BIN)/python -m recipes.release --recipe $(RECIPE) $(if $(NAMESPACE),--namespace $(NAMESPACE)) $(if $(VERSION),--version $(VERSION)) \
		$(if $(PRIVATE),--private) $(if $(DRY_RUN),--dry-run) $(if $(ONLY),--only $(ONLY)) $(if $(CREATE_PR),--create-pr) $(if $(ALLOW),--allow $(ALLOW)) \
		$(if $(RETRY_FAILED),--retry-failed)

lint: $(INSTALLED)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-fast: lint  ## lint, types and the tests that take seconds
	$(BIN)/python -m pytest -m "not slow and not browser" -n auto

test: test-fast  ## every test but the browser's: the fast ones first
	$(BIN)/python -m pytest -m "slow and not browser" -n 2 --dist loadfile

test-browser: $(INSTALLED)  ## the Space in a real Chromium (apt-get install chromium)
	REQUIRE_BROWSER=1 $(BIN)/python -m pytest -m browser

# An environment of its own at one end of what pyproject allows; torch stays as pinned, for its CPU build.
define test_with
	rm -rf build/environments/$@ build/smoke
	$(PYTHON) -m venv build/environments/$@
	build/environments/$@/bin/pip install --disable-pip-version-check --quiet --constraint constraints.txt torch
	$(BIN)/uv pip install --quiet --python build/environments/$@/bin/python --resolution $(1) \
		--constraint <(grep '^torch==' constraints.txt) --editable '.[$(EXTRAS)]'
	build/environments/$@/bin/python -m pytest -m "not slow and not browser" -n auto
	build/environments/$@/bin/python -m recipes.release --recipe smoke --stage build/environments/$@/release
endef

test-oldest: $(INSTALLED)  ## the fast tests and a smoke release with the lowest versions that pyproject allows
	$(call test_with,lowest-direct)

test-newest: $(INSTALLED)  ## the same with the newest of everything
	$(call test_with,highest)

chaos: $(INSTALLED)  ## faults, kill -9 and rivals: items lost, doubled and paid twice, all to be 0
	@$(BIN)/python -m recipes.chaos

licenses: $(INSTALLED)  ## every package that a release is made with, and its licence
	@$(BIN)/python -m recipes.dependencies licenses

audit: $(INSTALLED)  ## what OSV knows against these packages, without a network: OSV=all.zip
	@$(BIN)/python -m recipes.dependencies audit --from $(OSV)

bench: $(INSTALLED)  ## performance ratios, measured side by side, into build/bench.jsonl
	@$(BIN)/python -m recipes.bench

coverage: $(INSTALLED)  ## simulate whether the intervals of meta-eval hold the truth, and what boards promise (about an hour and a half of CPU)
	@$(BIN)/python -m recipes.performance.coverage
	@OCR_TEXTS=300 $(BIN)/python -m pytest tests/metrics/judges/test_ocr.py -k planted -q -s --timeout 3600

selftest: $(INSTALLED)  ## attack the embedded judges and print their verdicts, into build/selftest/
	@$(BIN)/python -m recipes.selftest $(foreach judge,$(JUDGE),--judge $(judge)) $(if $(QUICK),--quick) $(if $(WRITE),--write)

rehearsal: $(INSTALLED)  ## release to a Hub on loopback over real HTTP, Xet on and off, and read everything back
	@$(BIN)/python -m recipes.rehearsal --recipe $(RECIPE) $(if $(ALLOW),--allow $(ALLOW)) $(if $(PRIVATE),--private)

space: $(INSTALLED)  ## run the demo on the staged release and print its URL
	@$(BIN)/python -m recipes.space --recipe $(RECIPE)

base: $(INSTALLED)  ## pre-train the base of the embedded judge again (two hours on two cores)
	@$(BIN)/python -m recipes.tiny.pretrain

embed: $(INSTALLED)  ## put the judge of a finished `make release` into the package
	@$(BIN)/python -m recipes.embed --recipe $(RECIPE)

clean:  ## remove what was built (not the environment)
	rm -rf build
