# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
MEMBERS := protos $(wildcard libs/*) $(wildcard services/*)
PACKAGES := dragoman_common dragoman_events dragoman_text dragoman_models dragoman_client dragoman_gateway \
	dragoman_tokenizer dragoman_registry dragoman_worker dragoman_launcher dragoman_trainer dragoman_monitor \
	dragoman_autoscaler
# One thread a test process: what is tested in parallel must not fight over two cores.
TEST_ENV := OMP_NUM_THREADS=1

.PHONY: help setup protos lock fmt lint types unit test test-faults test-images test-containers test-cluster images chart-lint manifests real-parts demo up down bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  %-16s %s\n", $$1, $$2}'

setup: .venv/.installed ## make .venv from the hash-locked requirements, and install every member editable

.venv/.installed: requirements.lock pyproject.toml $(wildcard */pyproject.toml */*/pyproject.toml) $(shell find protos -name '*.proto') protos/generate.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed; set PYTHON to it" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	$(BIN)/pip --disable-pip-version-check check
	@touch $@

protos: ## build the Python code of the protos again
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e ./protos

lock: ## write requirements.lock from the members' requirements (hashes, no addresses)
	$(BIN)/uv lock --quiet --upgrade
	$(BIN)/uv export --quiet --all-packages --all-extras --all-groups --no-emit-workspace --no-header --no-annotate -o requirements.lock

fmt: setup ## format, and fix what ruff can fix
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

lint: setup ## ruff, import contracts, proto lint
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

types: setup ## mypy, strict, over every package
	$(BIN)/mypy $(PACKAGES:%=-p %) -p demo

unit: setup ## tests without network or platform: about 3 minutes on 2 cores
	$(TEST_ENV) $(BIN)/pytest -q -m "not slow" libs services

test: setup ## unit and integration tests: every service as a process, spoken to over gRPC
	$(TEST_ENV) $(BIN)/pytest -q libs services tests

# Some of it waits for minutes on purpose, so it is not taken for hanging.
test-faults: setup ## nothing lost, nothing twice, in full: 100,000 events, 20 broker kills, 5 minutes without: 20 minutes
	DRAGOMAN_TEST_FAULTS=full $(TEST_ENV) $(BIN)/pytest -q -s -o faulthandler_timeout=1500 tests/faults

test-images: setup ## build the MinIO, Kafka and PostgreSQL images that tests use, from their native parts
	$(BIN)/python -m tests.parts.images

# No address of the environment's, and no process: what runs here runs in containers, or the run fails.
test-containers: setup ## the parts and the S3 store contract, in containers of those images
	env -u DRAGOMAN_TEST_S3_ENDPOINT -u DRAGOMAN_TEST_KAFKA_BOOTSTRAP -u DRAGOMAN_TEST_POSTGRES_URL -u ALLOW_MISSING \
		DRAGOMAN_TEST_PARTS=container TESTCONTAINERS_RYUK_DISABLED=true $(TEST_ENV) \
		$(BIN)/pytest -q tests/parts tests/parts/check_images.py services/registry/tests/test_s3_store.py

images: setup ## build every service's image without torch and list sizes; ONLY=all: torch, too; BASE_IMAGE=...
	$(BIN)/python deploy/images/build.py --base-image "$(or $(BASE_IMAGE),python:3.11-slim)" $(if $(ONLY),--only "$(ONLY)") \
		--torch-wheel "$(TORCH_WHEEL)" --torch-wheel-sha256 "$(TORCH_WHEEL_SHA256)"

# CLUSTER: a command that knows up, load IMAGE..., env and down. Or DRAGOMAN_TEST_KUBECONFIG (tests/cluster/conftest.py).
test-cluster: images test-images ## install, use, kill, scale, upgrade and uninstall on a real Kubernetes: CLUSTER=..., an hour
	$(BIN)/python -m tests.cluster.consumer_image "$(or $(BASE_IMAGE),python:3.11-slim)"
	$(if $(CLUSTER),DRAGOMAN_TEST_CLUSTER="$(CLUSTER)") $(TEST_ENV) $(BIN)/pytest -q -s -o faulthandler_timeout=1500 tests/cluster

chart-lint: setup ## render, lint and check the chart with a pinned Helm (built once, by Go)
	$(TEST_ENV) $(BIN)/pytest -q tests/deploy

manifests: setup ## render the chart into build/manifests, for who has no Helm: NAMESPACE=... VALUES="my.yaml"
	$(BIN)/python -m tests.deploy.helm build/manifests $(or $(NAMESPACE),dragoman) $(or $(VALUES),deploy/helm/values/minimal.yaml)

real-parts: setup ## Kafka, MinIO and Postgres until Ctrl-C, for `dragoman up --real --env build/real/env`
	$(BIN)/python -m tests.parts up

demo: setup ## the closed loop on real text, then everything stops: exit 0 says that every check held; REAL=1: on real parts
	$(if $(REAL),$(BIN)/python -m tests.parts run) $(BIN)/python -m demo

up: setup ## as demo, and leave the platform running
	$(BIN)/python -m demo --keep

down: setup ## stop what `make up` left running
	DRAGOMAN_HOME=build/demo/home $(BIN)/dragoman down

bench: setup ## measure, beside peers, within one run (see bench/README.md)
	for name in tokenizer events worker; do $(BIN)/python bench/$$name/run.py || exit 1; done
	$(BIN)/python bench/worker/kills.py --model rnn

clean: ## remove what was built, and the environment
	rm -rf build dist .venv protos/gen
