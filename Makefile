# What there is to do here. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help demo test lint charts deploy bench setup torture matrix versions

STEP := scripts/step.sh
# How long `make torture` goes on.
SECONDS ?= 600
# Which cells `make matrix` plays: all, or those with these words in their names ("flushall idle").
CELLS ?= all
# Which combinations `make versions` plays: all, or those with these words in their names ("postgres-14 redis-6.2").
VERSIONS ?=
# Where scripts/setup.sh puts Celery; the tests and the demo look there.
export OUTBOXD_VENV ?= $(CURDIR)/target/venv

help: ## List what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## Watch committed tasks reach a real worker through a killed relay and an emptied Redis
	@$(STEP) setup scripts/setup.sh servers
	@$(STEP) python scripts/setup.sh python
	@$(STEP) build cargo build --release --locked
	@target/release/outboxd demo

test: ## Set up, lint, build, run the whole suite, check charts and deployment
	@$(STEP) setup scripts/setup.sh
	@$(STEP) lint scripts/lint.sh
	@$(STEP) build scripts/suite.sh --no-run
	@if $(STEP) tools scripts/setup.sh deploy; then $(STEP) deploy scripts/check_deploy.sh; \
		else echo "NOT CHECKED: deploy/, because its tools cannot be installed here"; fi
	@if $(STEP) tools scripts/setup.sh charts; then $(STEP) charts scripts/check_helm.sh; \
		else echo "NOT CHECKED: the charts, because their tools cannot be installed here"; fi
	@$(STEP) suite scripts/suite.sh

lint: ## Formatting, clippy, docs, shell scripts, licences
	@$(STEP) setup scripts/setup.sh lint
	@$(STEP) lint scripts/lint.sh

charts: ## Check the Helm charts and the plain manifests, without a cluster
	@$(STEP) setup scripts/setup.sh charts
	@$(STEP) build cargo build --locked
	@$(STEP) charts scripts/check_helm.sh

deploy: ## Check deploy/ and the workflows, and play the Compose quickstart, without a registry
	@$(STEP) setup scripts/setup.sh deploy
	@$(STEP) check scripts/check_deploy.sh
	@$(STEP) quickstart scripts/check_machine.sh compose

bench: ## Measure against the unsafe pump and the classic relay
	@$(STEP) setup scripts/setup.sh servers
	@cargo bench --locked --bench relay

setup: ## Install what is missing: servers, Celery, linters
	@scripts/setup.sh

torture: ## Break everything at random for SECONDS (600)
	@$(STEP) setup scripts/setup.sh servers
	@$(STEP) python scripts/setup.sh python
	@OUTBOXD_TORTURE_SECONDS=$(SECONDS) $(STEP) torture \
		cargo test --release --locked --features failpoints --test suite torture -- --nocapture --test-threads 1

matrix: ## Play every cell of the fault matrix, or those that CELLS names
	@$(STEP) setup scripts/setup.sh servers
	@$(STEP) python scripts/setup.sh python
	@OUTBOXD_MATRIX="$(CELLS)" $(STEP) matrix \
		cargo test --release --locked --features failpoints --test suite matrix:: -- --nocapture --test-threads 1

versions: ## Play the suite's core on every supported PostgreSQL, Redis and Valkey, or on those that VERSIONS names
	@$(STEP) setup scripts/setup.sh servers
	@$(STEP) servers scripts/setup.sh versions
	@VERSIONS="$(VERSIONS)" $(STEP) versions scripts/versions.sh
