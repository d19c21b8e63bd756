# Everything a newcomer, a developer and CI run. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# One target triple for everything: `cargo lambda build` names it too, so tests and functions share every artifact.
export CARGO_BUILD_TARGET ?= $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# Where the venv of the local stack goes.
TOOLS ?= $(CURDIR)/.local/tools
STACK := $(TOOLS)/bin/python infra/local/stack.py
END_TO_END := --package signpost-testkit --features end-to-end --test end_to_end

.PHONY: help
help: ## Lists the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

.PHONY: demo
demo: tools build ## Shows events going in and signed callbacks coming out, on this machine.
	@$(STACK) run -- "$$(infra/local/binary.sh demo)"

.PHONY: test
test: tools build ## Runs every test, end to end ones included.
	cargo test --workspace
	cargo test --workspace --features signpost-testkit/end-to-end --no-run
	$(STACK) run --auth --fast-keys -- cargo test --workspace --features signpost-testkit/end-to-end --test end_to_end -- --test-threads 32

.PHONY: up
up: tools build ## Starts the local stack and leaves it running; PORT= and AUTH=true are optional.
	@$(STACK) up $(if $(PORT),--port $(PORT)) $(if $(filter true,$(AUTH)),--auth)

.PHONY: down
down: tools ## Stops what `make up` started.
	@$(STACK) down

.PHONY: tools
tools:
	@infra/local/tools.sh $(TOOLS)

.PHONY: build
build: tools
	@echo "· Building the functions (the first time compiles the AWS SDKs: some minutes)"
	@cargo build --workspace --bins
