# Everything that newcomers, developers and CI run; `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Where tools go. CI keeps them, and cargo's target folder, outside of its fresh clone. What deploys to AWS has a venv of its
# own: it runs with an account's credentials, and nothing else may run beside it.
CACHE ?= $(CURDIR)/.local
DEPLOY_TOOLS := $(CACHE)/deploy-tools
TOOLS := $(CACHE)/tools
CARGO_DENY := $(CACHE)/cargo-deny-0.20.2/bin/cargo-deny

# Where `make install` puts the command line.
PREFIX ?= $(HOME)/.local

# For how long `make soak` goes through new schedules.
MINUTES ?= 10

# The pinned compiler. Where rustup cannot download it, the same version under the name "stable" serves as well.
RUST := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
ifeq ($(shell rustup toolchain list 2>/dev/null | grep -c '^$(RUST)'),0)
ifeq ($(shell rustc +stable --version 2>/dev/null | cut -d' ' -f2),$(RUST))
export RUSTUP_TOOLCHAIN := stable
endif
endif

ALL := --workspace --features signpost-testkit/end-to-end
LOCAL_STACK := $(TOOLS)/bin/python infra/local/stack.py
# Named without a package: with one, cargo would choose other features, and compile the AWS SDKs again.
DEMO := cargo run --quiet --bin demo
BENCH := cargo run --release --quiet --package signpost-bench --bin bench --
# Where `make bench` writes its figures: cargo's target folder.
BENCH_FOLDER := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help: ## Lists these targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: demo
demo: tools build ## Sends events and shows the signed webhooks that arrive, all on this machine.
	@$(LOCAL_STACK) run -- $(DEMO)

.PHONY: demo-svg
demo-svg: tools build ## Records `make demo` as docs/demo.svg.
	@$(LOCAL_STACK) run -- $(TOOLS)/bin/python infra/local/record_demo.py docs/demo.svg $(DEMO)

.PHONY: test
test: tools build ## Runs every test, end to end ones included.
	@infra/browser/chromium.sh > /dev/null
	@lib/receivers/toolchains.sh
	cargo test --workspace
	lib/receivers/test.sh $(TOOLS)
	node infra/browser/calculator.mjs
	cargo test $(ALL) --no-run
	$(LOCAL_STACK) run --auth --fast-keys -- cargo test $(ALL) --test end_to_end -- --test-threads 12
	$(LOCAL_STACK) run --auth --fast-keys -- node infra/browser/page.mjs
	$(LOCAL_STACK) run --archive -- $(TOOLS)/bin/python infra/local/rehearse.py

.PHONY: soak
soak: ## Runs the simulation of the delivery engine over ever new schedules, and long property tests; MINUTES=10 is optional.
	SIGNPOST_SOAK_MINUTES=$(MINUTES) cargo test --profile soak --package signpost-engine --test simulation -- --nocapture
	PROPTEST_CASES=10000 cargo test --release --package signpost-core --lib --test hostile

.PHONY: mutants
mutants: tools ## Puts defects into the delivery engine, one at a time, and fails if its tests do not notice them; 20 minutes.
	$(TOOLS)/bin/python infra/mutants/mutants.py $(NAMES)

.PHONY: rehearse
rehearse: tools build ## Runs what docs/operating.md says of restoring and removing, word for word, on a local stack of its own.
	$(LOCAL_STACK) run --archive -- $(TOOLS)/bin/python infra/local/rehearse.py

.PHONY: up
up: tools build ## Starts the local stack and leaves it running; PORT=4566 and AUTH=true are optional.
	@$(LOCAL_STACK) up $(if $(PORT),--port $(PORT)) $(if $(filter true,$(AUTH)),--auth)

.PHONY: down
down: tools ## Stops what `make up` started.
	@$(LOCAL_STACK) down

.PHONY: bench
bench: ## Measures what a delivery costs; BENCH_STACK=no leaves out what needs the local stack.
	@echo "· Building the release profile (the first time, some minutes)"
	@cargo build --release --bins
	@$(BENCH)
	@cargo bench --profile soak --quiet --package signpost-bench --bench allocations
	@SIGNPOST_SOAK_MINUTES=1 cargo test --profile soak --quiet --package signpost-engine --test simulation -- --nocapture no_neighbour no_partition
ifneq ($(BENCH_STACK),no)
	@$(MAKE) --no-print-directory tools
	@$(LOCAL_STACK) run --release -- $(BENCH) latency
endif
	@python3 infra/bench/figures.py --compare $(BENCH_FOLDER)

.PHONY: bench-soak
bench-soak: tools ## Sends 200 events a second on the local stack for MINUTES (30): memory, connections and duplicates over time.
	@cargo build --release --bins
	@$(LOCAL_STACK) run --release -- $(BENCH) soak $(or $(MINUTES),30)

.PHONY: bench-keep
bench-keep: ## Takes the figures of the last `make bench` into docs/bench.json and into the documents that quote them.
	@python3 infra/bench/figures.py --keep $(BENCH_FOLDER)

.PHONY: check
check: tools $(CARGO_DENY) ## Format, lints, docs, template and contract, licences, advisories: what CI runs before the tests.
	cargo fmt --check
	cargo clippy $(ALL) --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --quiet
	lib/receivers/check-rust.sh $(CARGO_DENY)
	$(MAKE) --no-print-directory install PREFIX=$(CURDIR)/target/installed INSTALL_OPTIONS="--debug --offline --force --quiet"
	target/installed/bin/signpost --version
	test -s target/installed/share/man/man1/signpost.1 -a -s target/installed/share/bash-completion/completions/signpost
	infra/local/check-core.sh
	infra/local/check-docs.sh
	$(TOOLS)/bin/python infra/local/check-links.py
	$(TOOLS)/bin/python infra/local/check-guides.py
	$(TOOLS)/bin/python infra/local/test_guides.py --quiet
	$(CARGO_DENY) --log-level error check bans licenses sources
	infra/local/check-advisories.sh $(CARGO_DENY) $(TOOLS) --if-reachable
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(TOOLS)/bin/sam validate --lint
	$(TOOLS)/bin/cfn-lint template.yaml
	$(TOOLS)/bin/python infra/local/check-deployments.py
	$(TOOLS)/bin/python infra/local/test_gradual.py --quiet
	$(TOOLS)/bin/python infra/local/test_release.py --quiet
	$(TOOLS)/bin/openapi-spec-validator infra/openapi.yaml
	$(TOOLS)/bin/python infra/local/check-routes.py
	$(TOOLS)/bin/python infra/local/check-loops.py
	$(TOOLS)/bin/cfn-lint infra/alarms.yaml infra/dashboard.yaml
	$(TOOLS)/bin/python infra/local/check-monitoring.py
	$(TOOLS)/bin/python infra/local/test_alarms.py
	$(TOOLS)/bin/python infra/local/check-notices.py
	$(TOOLS)/bin/python infra/local/settings-reference.py --check
	$(TOOLS)/bin/python infra/diagram.py --check docs/architecture.diagram docs/architecture.svg
	$(TOOLS)/bin/python infra/bench/chart.py --check docs/neighbours.bars docs/neighbours.svg
	$(TOOLS)/bin/python infra/bench/figures.py --check
	$(TOOLS)/bin/python infra/local/check-version.py
	$(TOOLS)/bin/python infra/local/check-logging.py
	$(TOOLS)/bin/python infra/local/check-metrics.py
	$(TOOLS)/bin/python infra/local/check-words.py
	$(TOOLS)/bin/ruff check infra
	$(TOOLS)/bin/ruff check --config infra/ruff.toml lib/receivers
	$(TOOLS)/bin/shellcheck infra/browser/*.sh infra/local/*.sh infra/tools/*.sh lib/receivers/*.sh lib/receivers/*/*.sh .ci/run

.PHONY: advisories
advisories: tools $(CARGO_DENY) ## Looks for known vulnerabilities in dependencies; needs a network.
	infra/local/check-advisories.sh $(CARGO_DENY) $(TOOLS)

.PHONY: install
install: ## Installs the command line `signpost` with man pages and completions below PREFIX, by default ~/.local.
	cargo install --locked --path lib/cli --root $(PREFIX) $(INSTALL_OPTIONS)
	mkdir -p $(PREFIX)/share/man/man1 $(PREFIX)/share/bash-completion/completions
	$(PREFIX)/bin/signpost man $(PREFIX)/share/man/man1
	$(PREFIX)/bin/signpost completion bash > $(PREFIX)/share/bash-completion/completions/signpost

.PHONY: deploy
deploy: ## Builds for Lambda, deploys to your AWS account, asking first (not with YES=true), and tries it out (not with SMOKE=false); STACK=name, PARAMETERS="Name=value …" and TAGS="key=value …" are optional.
	@infra/local/tools.sh $(DEPLOY_TOOLS)
	PATH="$(DEPLOY_TOOLS)/bin:$$PATH" $(DEPLOY_TOOLS)/bin/python infra/deploy.py $(if $(STACK),--stack $(STACK)) $(if $(TAGS),--tags "$$TAGS") \
	  $(if $(filter true,$(YES)),--yes) $(if $(filter false,$(SMOKE)),--no-smoke) $(PARAMETERS)

.PHONY: release
release: ## Builds the archive from which a stack deploys without Rust, and the list of its crates; ARCHITECTURE=x86_64 is optional.
	@infra/local/tools.sh $(DEPLOY_TOOLS)
	PATH="$(DEPLOY_TOOLS)/bin:$$PATH" $(DEPLOY_TOOLS)/bin/python infra/release.py --architecture $(or $(ARCHITECTURE),arm64)

.PHONY: smoke
smoke: ## Tries a deployed stack out, the local one if it is running: sends events and verifies the webhooks; STACK=name is optional.
	@infra/local/tools.sh $(DEPLOY_TOOLS)
	@$(DEPLOY_TOOLS)/bin/python infra/smoke.py $(if $(STACK),--stack $(STACK))

.PHONY: tools
tools:
	@infra/local/tools.sh $(DEPLOY_TOOLS) $(TOOLS)

.PHONY: build
build: tools
	@echo "· Compiling what has changed (the first time, with the AWS SDKs, 5 to 10 minutes; tests share them)"
	@cargo build --workspace --bins

$(CARGO_DENY):
	cargo install --locked --root $(CACHE)/cargo-deny-0.20.2 --target-dir $(CACHE)/cargo-deny-build cargo-deny@0.20.2
	rm -rf $(CACHE)/cargo-deny-build
