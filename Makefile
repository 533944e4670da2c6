# Everything sets itself up: only Python 3.11+, make, git and pip are needed. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
EXTRAS := train,space,serve,ray,ocr,heic,excel,vlm,completion,dev
RECIPE ?= tiny
comma := ,
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_DISABLE_TELEMETRY ?= 1
export GRADIO_ANALYTICS_ENABLED ?= False
unexport PYTHONDONTWRITEBYTECODE  # each of some hundred processes would compile the same modules again

.PHONY: help setup lock release test test-fast test-browser test-oldest test-newest test-python chaos licenses audit lint reference bench coverage selftest rehearsal space base embed clean

help:  ## list every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

PIP := $(BIN)/pip install --disable-pip-version-check --quiet --no-compile

# The lock has every package and its hashes but torch, whose build depends on the machine (a CPU's, CUDA's). uv, which
# the lock has too, installs it in a fraction of pip's time; where it cannot, pip does. Modules are compiled afterwards,
# on all cores, but for tests of other packages and transformers' models, most of which are never imported.
LOCKED := --no-deps --require-hashes --requirement requirements.lock

$(INSTALLED): pyproject.toml constraints.txt requirements.lock
	@echo "Installing into $(VENV), which takes some minutes the first time." >&2
	@$(BIN)/pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(PIP) --no-deps --require-hashes --requirement <(awk '/^uv==/ {its = 1} its {print} its && !/\\$$/ {exit}' requirements.lock) \
		&& $(BIN)/uv pip install --quiet --python $(BIN)/python $(LOCKED) \
		|| { echo "uv could not install the lock: pip does." >&2; $(PIP) --use-pep517 $(LOCKED); }
	@$(PIP) --constraint constraints.txt torch
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests/|/transformers/models/' $(VENV)/lib || true
	@touch $@
	@echo "Installed. To have t2i-judge on the PATH of this shell: source $(BIN)/activate" >&2

# constraints.txt chooses the versions; uv adds what they need and the hashes, for Python 3.11 and later. torch is left
# out with all that only its CUDA build needs (the override); setuptools and sympy are what every build of it needs.
lock:  ## update requirements.lock with uv after version changes
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(PIP) --constraint constraints.txt uv; }
	printf 'setuptools\nsympy\n' | $(BIN)/uv pip compile pyproject.toml - $(foreach extra,$(subst $(comma), ,$(EXTRAS)),--extra $(extra)) \
		--constraint constraints.txt --override <(echo "torch; sys_platform == 'none'") --no-emit-package torch \
		--universal --python-version 3.11 --generate-hashes --quiet --output-file requirements.lock \
		--custom-compile-command "make lock"

# What was typed reaches Python as it is: paths have spaces, and quotes. An option of a variable stands if that is set.
quoted = '$(subst ','\'',$(1))'
option = $(if $($(2)),$(1) $(call quoted,$($(2))))

setup: $(INSTALLED)  ## make the environment (other targets do so by themselves)

release: $(INSTALLED)  ## build, distil, measure, stage; push with NAMESPACE=
	@$(BIN)/python -m recipes.release --recipe $(call quoted,$(RECIPE)) $(call option,--namespace,NAMESPACE) $(call option,--version,VERSION) \
		$(call option,--stage,STAGE) $(call option,--only,ONLY) $(call option,--allow,ALLOW) \
		$(if $(PRIVATE),--private) $(if $(DRY_RUN),--dry-run) $(if $(CREATE_PR),--create-pr) \
		$(if $(RETRY_FAILED),--retry-failed) $(if $(VERBOSE),--verbose) $(if $(QUIET),--quiet) $(if $(JSON),--json)

lint: $(INSTALLED)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

reference: $(INSTALLED)  ## write the two references in metrics/README.md
	@$(BIN)/python -m recipes.reference

# slipcover costs a few seconds, a tracer would cost half of the tests' time again; COVERED= goes without.
COVERAGE := build/coverage.json
COVERED ?= -m slipcover --source metrics/t2i_judge,recipes,model_card,dataset_card,space --json --out $(COVERAGE)

# Files with a test of this mark, so that a run imports what its own tests need.
marked = $(sort $(shell grep -rl --include='test_*.py' 'mark\.$(1)' tests))

# As many workers as cores, each of which computes on one. The slow tests also wait for processes: three for two cores.
test-fast test: export OMP_NUM_THREADS ?= 1

test-fast: lint  ## lint, types and the fast tests, with line coverage
	@mkdir -p build
	$(BIN)/python $(COVERED) -m pytest -m "not slow and not browser" -n auto
	$(if $(COVERED),@$(BIN)/python -m tests.line_coverage $(COVERAGE))

test: test-fast  ## all tests except the browser's, the fast ones first
	$(BIN)/python -m pytest -m "slow and not browser" -n 3 --dist loadfile --no-loadscope-reorder $(call marked,slow)

test-browser: $(INSTALLED)  ## the Space in a real Chromium (apt-get install chromium)
	REQUIRE_BROWSER=1 $(BIN)/python -m pytest -m browser -n 2 --dist loadfile --no-loadscope-reorder $(call marked,browser)

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

test-oldest: $(INSTALLED)  ## fast tests and a smoke release with the oldest versions
	$(call test_with,lowest-direct)

test-newest: $(INSTALLED)  ## the same with the newest versions
	$(call test_with,highest)

# The same lock under another Python: hf jobs run 3.12. torch comes as `pip install torch` gives it there.
test-python:  ## fast tests with another Python: PYTHON=python3.12
	rm -rf build/environments/$@
	$(PYTHON) -m venv build/environments/$@
	build/environments/$@/bin/pip install --disable-pip-version-check --quiet --no-deps --use-pep517 --require-hashes --requirement requirements.lock
	build/environments/$@/bin/pip install --disable-pip-version-check --quiet --constraint constraints.txt torch
	build/environments/$@/bin/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	build/environments/$@/bin/python -m pytest -m "not slow and not browser" -n auto

chaos: $(INSTALLED)  ## count items lost, doubled or paid twice under faults
	@$(BIN)/python -m recipes.chaos $(if $(JSON),--json)

licenses: $(INSTALLED)  ## every package behind a release, and its licence
	@$(BIN)/python -m recipes.dependencies licenses

audit: $(INSTALLED)  ## known vulnerabilities of these packages: OSV=all.zip
	@$(BIN)/python -m recipes.dependencies audit $(call option,--from,OSV)

bench: $(INSTALLED)  ## performance ratios, measured side by side
	@$(BIN)/python -m recipes.bench $(if $(JSON),--json)

coverage: $(INSTALLED)  ## simulate error rates of intervals, boards (90 minutes)
	@$(BIN)/python -m recipes.performance.coverage
	@OCR_TEXTS=300 $(BIN)/python -m pytest tests/metrics/judges/test_ocr.py -k planted -q -s --timeout 3600

selftest: $(INSTALLED)  ## attack the embedded judges, into build/selftest/
	@$(BIN)/python -m recipes.selftest $(foreach judge,$(JUDGE),--judge $(call quoted,$(judge))) $(if $(QUICK),--quick) $(if $(WRITE),--write) $(if $(JSON),--json)

rehearsal: $(INSTALLED)  ## release to a Hub on this machine, over real HTTP
	@$(BIN)/python -m recipes.rehearsal --recipe $(call quoted,$(RECIPE)) $(call option,--allow,ALLOW) $(if $(PRIVATE),--private)

space: $(INSTALLED)  ## run the demo on the staged release and print its URL
	@$(BIN)/python -m recipes.space --recipe $(call quoted,$(RECIPE))

base: $(INSTALLED)  ## pre-train the base of the embedded judge (two hours)
	@$(BIN)/python -m recipes.tiny.pretrain

embed: $(INSTALLED)  ## put the judge of a finished release into the package
	@$(BIN)/python -m recipes.embed --recipe $(call quoted,$(RECIPE))

# Made again at no cost. What else is in build/ has paid replies, adapters, or what people rated and confirmed.
REMADE := release release-* release.* bench.jsonl coverage.json environments full-size rehearsal selftest space

clean:  ## remove stages and reports in build/; ALL=1: all of it
	@rm -rf $(if $(ALL),build,$(addprefix build/,$(REMADE)))
	@if kept="$$(ls -d build/* 2>/dev/null)"; then \
		printf 'Kept: %s\nThis has paid replies, adapters, or what people rated. To remove it, too: make clean ALL=1\n' "$$(echo $$kept)"; fi
