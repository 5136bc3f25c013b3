# Everything the project does, by one word each. `make help` lists them.
#
#   TORCH_INDEX  a further package index for pip, empty by default. For a build of PyTorch
#                without CUDA on Linux:
#                make book TORCH_INDEX=https://download.pytorch.org/whl/cpu
#   PYTHON       the Python that makes the virtual environment (3.11 to 3.14)
#   PYTHONS      which of them `make pythons` tries, all by default: make pythons PYTHONS="3.12 3.13"
#   PORT         where `make serve` listens
#   CI           `true` turns every skip into a failure

PYTHON ?= python3
PORT ?= 8000
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet \
       $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c requirements.lock

# TensorFlow, Flax and ONNX are large: a person's `make test` skips their tests by name unless
# they are installed (make test TEST_EXTRAS=book,test,distributed,frameworks), CI never does.
COMMA := ,
TEST_EXTRAS ?= book,test,distributed$(if $(filter true,$(CI)),$(COMMA)frameworks)

export PYDEVD_DISABLE_FILE_VALIDATION := 1

.DEFAULT_GOAL := help
.PHONY: help book serve test lint reproduce pythons lock clean

help:  ## list what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) tools/environment.py $(VENV)

# Stamps: pip runs again only when the package's metadata or the lock have changed.
$(VENV)/.book: pyproject.toml requirements.lock | $(BIN)/python
	@echo "Installing the book's environment into $(VENV) (some minutes the first time)"
	$(PIP) -e ".[book]"
	@touch $@

$(VENV)/.test: $(VENV)/.book
	@echo "Installing what the tests need"
	$(PIP) -e ".[$(TEST_EXTRAS)]"
	@touch $@

# A page is read and written as UTF-8 whatever the locale says.
book: export PYTHONUTF8 = 1
book: $(VENV)/.book  ## build the site into _build/html
	@$(BIN)/python tools/build.py

serve: book  ## build, then serve the site at http://127.0.0.1:8000
	@echo "http://127.0.0.1:$(PORT)  (end with Ctrl-C)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

# The site's tests look at the built site, and the notebooks' at its one execution.
test: $(VENV)/.test book  ## run every test, slow ones and those in a real browser included
	@$(BIN)/python tools/machine.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: $(VENV)/.test  ## rules, format and types
	$(BIN)/ruff check .
	@# Code in prose is laid out for the page: its comments stand in a column.
	$(BIN)/ruff format --check --config 'extend-exclude = ["*.md"]' .
	$(BIN)/mypy

reproduce: $(VENV)/.book  ## recompute every result from nothing (core-hours); says first what each costs
	$(BIN)/bnlib list
	$(BIN)/bnlib run all
	$(BIN)/bnlib claims

pythons: $(VENV)/.test  ## build and quickly test under every supported Python, in fresh clones
	$(BIN)/python tools/pythons.py $(PYTHONS)

lock: | $(BIN)/python  ## write requirements.lock after the ranges have changed; LATEST=1 for the latest versions
	$(BIN)/python tools/lock.py $(if $(LATEST),--upgrade)

clean:  ## remove what was built, and the environment
	rm -rf _build $(VENV) dist .pytest_cache .ruff_cache .mypy_cache
