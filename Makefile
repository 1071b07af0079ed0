PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
JUDGES := .venv-judges

.PHONY: demo check check-long ready tools judges drill bench format api lock clean

demo: $(VENV)/.run
	@$(BIN)/spillway demo

check: ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest -n 4 --dist loadgroup
	$(BIN)/spillway drill

# What takes time to come is fetched side by side.
ready: $(VENV)/bin/python
	@$(MAKE) --no-print-directory --jobs=3 $(VENV)/.dev tools judges

# The report is tested in a real browser, the order of writes by the system calls, what processes share in a real Redis.
tools:
	@for tool in chromium strace redis-server; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	[ -z "$$missing" ] || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; } >/dev/null

# The official SDKs and LiteLLM's proxy, which judge our wires in processes of their own.
judges: $(JUDGES)/.ready

check-long: ready
	SPILLWAY_LONG=1 $(BIN)/pytest -m "long or not long" --timeout 3600

# What is promised of several processes, at its whole size: about half an hour.
drill: $(VENV)/.dev tools
	$(BIN)/spillway drill --size full --report drill.html

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

api: $(VENV)/.dev
	$(BIN)/python tests/house/surface.py

lock: $(VENV)/.dev
	$(BIN)/uv pip compile -q --no-strip-extras --no-annotate --no-header --generate-hashes --python-version 3.11 --extra uvloop --extra gateway pyproject.toml -o requirements/run.lock
	$(BIN)/uv pip compile -q --no-strip-extras --no-annotate --no-header --generate-hashes --python-version 3.11 --extra uvloop --extra http2 --extra vertex --extra gateway --extra otel --extra redis --extra ray pyproject.toml requirements/dev.in -o requirements/dev.lock
	$(BIN)/uv pip compile -q --no-strip-extras --no-annotate --no-header --generate-hashes --python-version 3.11 requirements/judges.in -o requirements/judges.lock

clean:
	rm -rf $(VENV) $(JUDGES) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV) || (apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv $(VENV))

$(VENV)/.run: $(VENV)/bin/python requirements/run.lock pyproject.toml
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/run.lock
	@$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python requirements/dev.lock pyproject.toml
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@ $(VENV)/.run

$(JUDGES)/.ready: requirements/judges.lock | $(VENV)/bin/python
	@$(PYTHON) -m venv $(JUDGES)
	@$(JUDGES)/bin/python -m pip install --quiet --require-hashes -r requirements/judges.lock
	@touch $@
