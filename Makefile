# Everything runs from here: `make help`.
SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help demo up down test check fmt generate lock deps deps-demo venv soak bench-entities bench-store bench-engine clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: deps-demo venv ## Run a real sandbox from a YAML file, show it, clean up
	@$(BIN)/python scripts/demo.py

up: deps-demo venv ## The same, and leave the server running
	@$(BIN)/python scripts/demo.py --keep

down: venv ## Stop what `make up` left and remove it from this host
	@$(BIN)/python scripts/demo.py --down

test: deps venv check ## Run every check and every test
	@$(BIN)/pytest

soak: deps venv ## Run the long versions of the tests
	@MIREN_SOAK=1 $(BIN)/pytest --timeout=600

bench-entities: venv ## Measure what the entity layer costs above what it stands on
	@$(BIN)/python -m bench.entities

bench-store: venv ## Measure what the stores cost, and what their watches bear
	@$(BIN)/python -m bench.store

bench-engine: venv ## Measure the reconcile engine against kopf
	@$(BIN)/python -m bench.engine

check: venv ## Lint, types, layers, generated code; needs no special machine
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy miren tests examples scripts bench
	@$(BIN)/lint-imports
	@$(BIN)/python -m miren.schemagen check --out miren/entities/gen --docs docs/reference/entities.md miren/entities/schema/*.yml
	@$(BIN)/python scripts/generate_protos.py --check

fmt: venv ## Format and fix what can be fixed
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

generate: venv ## Write the generated code anew
	@$(BIN)/python -m miren.schemagen generate --out miren/entities/gen --docs docs/reference/entities.md miren/entities/schema/*.yml
	@$(BIN)/python -m miren.schemagen.language_tables docs/reference/schema-language.md
	@$(BIN)/python scripts/generate_protos.py

lock: venv ## Pin the newest versions that pyproject.toml allows
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --universal --all-extras --generate-hashes \
		--no-header --no-emit-index-url --python-version 3.11 pyproject.toml -o requirements.lock

deps-demo: ## Install the system packages that the demo needs
	@sh scripts/deps.sh demo

deps: ## Install the system packages that the tests need
	@sh scripts/deps.sh test

venv: $(INSTALLED) ## Make .venv with the locked packages

$(INSTALLED): requirements.lock pyproject.toml scripts/venv.sh
	@sh scripts/venv.sh
	@touch $@

clean: ## Remove what was built here
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
