# make setup   a virtual environment with everything
# make demo    generate, execute and compare the bundled model
# make test    all tests
PYTHON ?= python3
VENV ?= .venv
TEST_ARGS ?= -n auto

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
STAMP := $(VENV)/.installed
DEMO := out/bytellama
MODEL := examples/bytellama

# Tests run in parallel processes; threads inside each would only compete.
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test lint bench golden status docs

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/llm-codegen transform -s $(MODEL) -o $(DEMO)-cpp -a --force
	$(BIN)/llm-codegen verify $(DEMO)-cpp -s $(MODEL)
	$(BIN)/python $(DEMO)-cpp/llama/run.py --device cpu --world_size 2 --model_path=$(MODEL) \
		--input_texts "def main(" --max_output_length 120
	$(BIN)/llm-codegen transform -s $(MODEL) -o $(DEMO)-py -py --force
	$(BIN)/llm-codegen verify $(DEMO)-py -s $(MODEL)
	$(BIN)/python $(DEMO)-py/run.py --device cpu -m $(MODEL) -i "def main(" -n 120

test: $(STAMP)
	$(BIN)/python -m pytest $(TEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(STAMP)
	$(BIN)/python benchmarks/generate.py

# Records the emitted files anew; look at what changed before you commit it.
golden: $(STAMP)
	$(BIN)/python -m pytest tests/golden -k golden_ones --update-golden $(TEST_ARGS)

# Records what every tiny model does, for the README's matrix.
status: $(STAMP)
	$(BIN)/python -m pytest tests/parity -k test_model --update-status -n 0
	$(BIN)/python scripts/status_matrix.py

# Writes the pages that are made from code and records.
docs: $(STAMP)
	$(BIN)/python scripts/status_matrix.py
	PYTHONPATH=. $(BIN)/python scripts/reference.py
