.DEFAULT_GOAL := help
.PHONY: help setup up down test check lint docs clients conformance proto lock env images tools load bench bench-router simulate demo drills
UP ?=
PYTEST ?=
# Three processes, and the groups of tests/support/schedule.py: many tests wait more than they compute.
PARALLEL = -n 3
# OMP_NUM_THREADS=1 in `test`: processes with two PyTorch threads each wait for one another most of the time.
DRILLS ?=
CONFORMANCE ?= --record
CLIENTS ?=
LOAD ?= loadtests/profiles/steady.yaml
BENCH ?=
SIMULATE ?= loadtests/simulator/scenarios/chats.yaml --write docs/scheduling.md
# If it were set, every process would compile all its modules at each start: 2.5 s of CPU for a gateway, 13 s for vLLM.
export PYTHONDONTWRITEBYTECODE :=

help:            ## list these commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {gsub(/ +$$/, "", $$1); printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:           ## install the pinned requirements into .venv (other commands do this when needed)
	@scripts/bootstrap.sh

up: setup        ## start a cluster with a real model on this machine (UP="--workers 2" passes options)
	@.venv/bin/tidegate up $(UP)

down: setup      ## stop the cluster that `up` started
	@.venv/bin/tidegate down

test: setup      ## run every test that needs no GPU (PYTEST="-k name" passes options)
	@scripts/check.sh & OMP_NUM_THREADS=1 .venv/bin/python -m pytest $(PARALLEL) $(PYTEST); status=$$?; \
	wait $$! || { echo 'make: scripts/check.sh failed, see above'; status=1; }; exit $$status

drills: setup    ## run the long fault-injection tests, and images as Compose and the chart do (DRILLS="--minutes 10" passes options)
	@.venv/bin/python -m tests.robustness $(DRILLS)
	@TEST_IMAGES="gateway router" TEST_PODS=1 .venv/bin/python -m pytest -q tests/deploy/test_built_images.py \
		tests/deploy/test_kube_play.py tests/deploy/test_compose_under_podman.py

conformance: setup  ## check what clients count on, here and with `vllm serve`, and write the table of docs/api.md
	@.venv/bin/python -m tests.conformance $(CONFORMANCE)
	@.venv/bin/python -m tests.conformance.page

clients: setup   ## run other people's clients on a simulated cluster and write docs/clients.md (CLIENTS="codex" runs some)
	@.venv/bin/python -m tests.clients $(CLIENTS)

check: setup     ## run the fast checks: style, types, import rules, contracts, unit tests
	@scripts/check.sh
	@.venv/bin/python -m pytest -q tests/unit tests/tidy $(PYTEST)

lint: setup      ## run only the checks of style, types, import rules and contracts
	@scripts/check.sh

demo: setup      ## train the running model on a new fact under load, then roll back
	@.venv/bin/tidegate demo

load: setup      ## run a load test on a running cluster and write a report (LOAD="loadtests/profiles/mixed.yaml --rate 30" passes options)
	@.venv/bin/python -m loadtests run $(LOAD)

bench: setup     ## measure CPU per token and request, beside vllm serve and vllm-router (BENCH="requests --rounds 5" passes options)
	@.venv/bin/python -m loadtests.bench $(BENCH)

bench-router: setup  ## measure the router's scripts and its process (BENCH="--pairs 0 --json FILE" passes options)
	@.venv/bin/python -m loadtests.router_bench $(BENCH)

simulate: setup  ## simulate scheduling policies and write the results into docs/scheduling.md (SIMULATE="..." passes options)
	@.venv/bin/python -m loadtests.simulator run $(SIMULATE)

docs: setup      ## write the generated pages and the chart's schema (modules, configuration, values.schema.json, architectures, differences)
	@.venv/bin/python scripts/modules.py
	@.venv/bin/python scripts/configuration.py
	@.venv/bin/python scripts/chart_schema.py
	@.venv/bin/python scripts/dashboards.py
	@.venv/bin/python scripts/architectures.py
	@.venv/bin/python -m tests.conformance.page

proto: setup     ## generate proto/gen from proto/tidegate
	@scripts/proto.sh

lock: setup      ## resolve and pin the dependencies
	@scripts/lock.sh

env:             ## write .env and .secrets/ for docker compose, with new secrets
	@scripts/env.sh

images:          ## build the container images (TARGETS="gateway router" builds only these)
	@scripts/images.sh $(TARGETS)

tools: setup     ## download Prometheus and promtool, which some tests use (needs apt, no root)
	@scripts/tools.sh
