# `make train` and `make test` work on a fresh machine: each installs what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install dev train eval test test-quick torture lint docs site bench bench-quick clean

help:
	@echo "make install install the programs into $(VENV)"
	@echo "make train   train: writes checkpoint.pt"
	@echo "make eval    score checkpoint.pt on the test set"
	@echo "make dev     install what tests and lint need, too"
	@echo "make test    run the tests"
	@echo "make test-quick  only the tests that start no program"
	@echo "make torture what make test does a little of: hundreds of kills, 86,000 damaged files, whole tutorials; then mutation testing; prints counts"
	@echo "make lint    ruff and mypy --strict"
	@echo "make docs    write docs/reference.md from the code"
	@echo "make site    build README.md and docs/ as a site with search, in site/"
	@echo "make bench   install what to compare with, and measure speed (bench-quick: in 3 minutes)"
	@echo "make clean   remove the virtual environment and caches; data and checkpoints stay"

install: $(VENV)/.install

$(VENV)/.install: pyproject.toml constraints.txt install.py
	@$(PYTHON) install.py $(VENV)
	@touch $@

dev: $(VENV)/.dev

$(VENV)/.dev: pyproject.toml constraints.txt install.py
	@$(PYTHON) install.py $(VENV) dev,docs
	@touch $(VENV)/.install $@

train: $(VENV)/.install
	$(BIN)/mnist-train

checkpoint.pt: | $(VENV)/.install
	$(BIN)/mnist-train

eval: checkpoint.pt
	$(BIN)/mnist-eval checkpoint.pt

test: $(VENV)/.dev
	$(BIN)/pytest -n auto --dist worksteal

# Without the tests that start a program, a browser or several ranks or take some seconds, those of
# the documentation and those in tests/torture: for every edit, as `make test` for every commit.
test-quick: $(VENV)/.dev
	$(BIN)/pytest -n auto --dist worksteal -m "not slow and not torture"

torture: $(VENV)/.dev
	MNIST_TORTURE=1 $(BIN)/pytest -n auto --dist worksteal -rP -m ''
	$(BIN)/python tests/torture/mutation.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python docs/make_reference.py

$(VENV)/.docs: $(VENV)/.install
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@

site: $(VENV)/.docs
	$(BIN)/python docs/make_site.py build/pages
	$(BIN)/zensical build --clean --strict
	@echo "to look at it: $(BIN)/python -m http.server -d site"

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]'
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

bench-quick: $(VENV)/.bench
	$(BIN)/python -m benchmarks --quick

clean:
	rm -rf $(VENV) dist build site .cache .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
