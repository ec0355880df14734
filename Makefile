# Set-up needs git, make and Python 3.11 or later, nothing else.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
export UV_LINK_MODE ?= copy

.PHONY: demo test test-all lint wheel lock gallery benchmark clean

## The main job on the bundled checkpoint: measures, prints, saves under runs/.
demo: .venv/installed
	$(BIN)/coupling analyze --k 5 --k 10

## The default tests, the linter and the type checker.
test: .venv/installed lint
	$(BIN)/python -m pytest

## Every test that needs no accelerator: the slow ones too, and those in a browser (apt-get install chromium).
test-all: .venv/installed lint
	$(BIN)/python -m pytest -m "not gpu"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: .venv/installed
	rm -rf dist build
	$(BIN)/python -m build --wheel

## The pictures of the README, from the bundled checkpoint.
gallery: .venv/installed
	$(BIN)/python -m coupling.figures.gallery

benchmark: .venv/installed
	$(BIN)/python -m coupling.benchmark --tokens 32 --tokens 128 --tokens 512 --naive-rows 128

## Resolve the dependencies again; the lock holds for every platform and Python 3.11 or later.
lock: .venv/uv
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--extra datasets --extra lora --extra rl --group dev --output-file requirements.lock pyproject.toml

.venv/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

.venv/installed: .venv/uv requirements.lock pyproject.toml
	$(UV) pip install --python .venv --quiet --compile-bytecode --require-hashes --requirements requirements.lock
	$(UV) pip install --python .venv --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv dist build *.egg-info
