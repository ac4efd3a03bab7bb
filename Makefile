# One command per job, the same for people and CI. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
# make test
TEST_WORKERS ?= 2
# make load
USERS ?= 16
DURATION ?= 60s
LOAD_HOST ?= http://127.0.0.1:$(PORT)
# Where pip finds torch; empty is the package index. Without a GPU:
#   make install TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV := .venv
OTHERS := .venv-comparison
BIN := $(VENV)/bin
# Installs, with a line for each package that is fetched
PIP := set -o pipefail; install() { $(BIN)/python -m pip install --progress-bar off --disable-pip-version-check \
  --constraint constraints.txt "$$@" | awk '/Downloading|Using cached/ {sub(/^ +/, "  "); print; fflush()}'; }; install

.PHONY: help install demo demo-train test check bench attack bench-comparison serve load format

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"rnnserve needs Python 3.11 or newer; this is {sys.version.split()[0]}. Say which: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: $(BIN)/python pyproject.toml constraints.txt
	@echo "rnnserve: installing the server's packages into $(VENV), once"
	@$(PIP) --editable '.[serve,cpu]'
	@touch $@

$(VENV)/.torch: $(BIN)/python constraints.txt
	@echo "rnnserve: installing PyTorch into $(VENV), once"
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.train: $(VENV)/.torch $(VENV)/.serve
	@echo "rnnserve: installing what training and export need into $(VENV), once"
	@$(PIP) --editable '.[serve,cpu,train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	@echo "rnnserve: installing the tools of development into $(VENV), once"
	@$(PIP) --editable '.[serve,cpu,train,dev]'
	@touch $@

install: $(VENV)/.dev ## everything: training, export, serving, development

$(VENV)/demo/session-key: $(BIN)/python
	@mkdir -p $(@D)
	@umask 077 && $(BIN)/python -c 'import secrets; print(secrets.token_hex(32))' > $@

demo: $(VENV)/.serve $(VENV)/demo/session-key ## serve the shipped models at http://127.0.0.1:8000 (PORT=...), without torch
	@echo "rnnserve starts: http://$(HOST):$(PORT)  (open it in a browser; fields: /docs; commands to try: README.md; Ctrl-C stops)"
	@: $${RNNSERVE_SESSION_DIR:=$(VENV)/demo/sessions} && : $${RNNSERVE_SESSION_KEY:=$$(cat $(VENV)/demo/session-key)} && \
	  export RNNSERVE_SESSION_DIR RNNSERVE_SESSION_KEY && mkdir -p $$RNNSERVE_SESSION_DIR && \
	  RNNSERVE_DEFAULT_GENERATION=shakespeare-char \
	  $(if $(wildcard artifacts/translate-en-zh),RNNSERVE_DEFAULT_TRANSLATION=translate-en-zh) \
	  $(if $(wildcard artifacts/sentiment-en),RNNSERVE_DEFAULT_SENTIMENT=sentiment-en) \
	  exec $(BIN)/python -m server --host $(HOST) --port $(PORT)

serve: $(VENV)/.serve ## the server with your own settings (RNNSERVE_*)
	@exec $(BIN)/python -m server --host $(HOST) --port $(PORT)

demo-train: $(VENV)/.train ## the whole way, small: train on text that ships with Python, export, verify, serve one answer
	@bash training/demo.sh $(BIN)/python

test: $(VENV)/.dev ## all tests but the slow ones, TEST_WORKERS=2 files at a time
	$(BIN)/python -m pytest -m "not slow and not gpu" --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --durations 25

check: $(VENV)/.dev ## format, lint, types, import directions, words
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.glossary

format: $(VENV)/.dev ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## measure, an hour (one: python -m benchmarks NAME, to keep it: --write); RNNSERVE_DATA=FOLDER is needed for translation, sentiment and quality
	$(BIN)/python -m benchmarks

attack: $(VENV)/.dev ## attack a server of its own on this machine, some minutes: what must hold for honest clients meanwhile
	$(BIN)/python -m benchmarks attack

$(OTHERS)/.installed: benchmarks/comparison/requirements.txt
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

bench-comparison: $(VENV)/.dev $(OTHERS)/.installed ## LitServe, BentoML and Ray Serve (in an environment of their own, 640 MB) beside rnnserve
	$(BIN)/python -m benchmarks comparison

load: $(VENV)/.dev ## load on a running server, every answer checked (USERS=16 DURATION=60s LOAD_HOST=http://127.0.0.1:8000)
	$(BIN)/python -m locust --locustfile loadtest/locustfile.py --headless --only-summary --host $(LOAD_HOST) \
	  --users $(USERS) --spawn-rate $(USERS) --run-time $(DURATION) --stop-timeout 10 --html loadtest/report.html
