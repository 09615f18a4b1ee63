# Everything is done through `make`; `make help` lists it. One environment (.venv) serves demo, tests and UI.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
CONFIG ?= configs/sample.yaml
# Tests of whole processes wait for them much of their time: one worker more than two cores.
WORKERS ?= 3
PORT ?= 3000
MLFLOW_PORT ?= 5000

# Where torch comes from, looked up for torch alone: the CPU build by default.
# For CUDA take it from the default index: make install TORCH_INDEX=
TORCH ?= 2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

export QUANT_CONFIG := $(abspath $(CONFIG))
export DO_NOT_TRACK := 1
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo ui mlflow test lint types unit bench clean

help: ## list these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: .venv/.installed ## make .venv with pinned dependencies

.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import torch' 2>/dev/null \
	  || { echo "torch $(TORCH): looking for a CPU build offered locally"; $(BIN)/pip install -q --no-deps --no-index torch==$(TORCH) 2>/dev/null; } \
	  || { echo "torch $(TORCH): from $(if $(TORCH_INDEX),$(TORCH_INDEX),the default index)"; $(BIN)/pip install -q --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH); }
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,ray,kafka,redis,clickhouse]'
	@touch $@

demo: .venv/.installed ## the whole graph on the embedded sample, and a short paper-trading session
	@$(BIN)/python -m quant_assets demo

ui: .venv/.installed ## open the Dagster UI on the same data (http://127.0.0.1:3000)
	@$(BIN)/python -m quant_assets ui --port $(PORT)

mlflow: .venv/.installed ## open the MLflow UI on the same models (http://127.0.0.1:5000)
	@$(BIN)/python -m quant_assets mlflow --port $(MLFLOW_PORT)

test: .venv/.installed lint types unit ## lint, types and tests

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/mypy

unit: .venv/.installed
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

bench: .venv/.installed ## run the benchmarks, each a table
	@for file in $$(grep -l __main__ benchmarks/*.py); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean: ## remove the data of all configurations (.quant), not the environment
	rm -rf .quant
