.DEFAULT_GOAL := help
.PHONY: help setup up down test check lint proto lock env images tools load bench bench-router simulate demo drills
UP ?=
PYTEST ?=
# Two processes, and the groups of tests/support/schedule.py: many tests wait more than they compute.
PARALLEL = -n 2
DRILLS ?=
LOAD ?= loadtests/profiles/steady.yaml
BENCH ?=
SIMULATE ?= loadtests/simulator/scenarios/chats.yaml --write docs/scheduling.md
# Where it is set, every process compiles all that it imports anew: a gateway for 2.5 s of CPU, vLLM's engine for 13.
export PYTHONDONTWRITEBYTECODE :=

help:            ## show these verbs
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {gsub(/ +$$/, "", $$1); printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:           ## make .venv from the pinned requirements (the other verbs do it themselves)
	@scripts/bootstrap.sh

up: setup        ## start a cluster with a real model on this machine (UP="--workers 2" passes options)
	@.venv/bin/tidegate up $(UP)

down: setup      ## stop the cluster that `up` started
	@.venv/bin/tidegate down

test: setup      ## every test that needs no GPU (PYTEST="-k name" passes options)
	@scripts/check.sh
	@.venv/bin/python -m pytest $(PARALLEL) $(PYTEST)

drills: setup    ## the long fault-injection tests (DRILLS="--minutes 10 --seed 7" passes options)
	@.venv/bin/python -m tests.robustness $(DRILLS)

check: setup     ## the fast part: lint, types, import rules, contracts, unit tests
	@scripts/check.sh
	@.venv/bin/python -m pytest -q tests/unit tests/tidy $(PYTEST)

lint: setup      ## lint, types, import rules and contracts alone
	@scripts/check.sh

demo: setup      ## teach the running model something new under load, and take it back
	@.venv/bin/tidegate demo

load: setup      ## load a running cluster and report (LOAD="loadtests/profiles/mixed.yaml --rate 30" passes options)
	@.venv/bin/python -m loadtests run $(LOAD)

bench: setup     ## what tokens and requests cost, beside vllm serve and vllm-router (BENCH="requests --rounds 5" passes options)
	@.venv/bin/python -m loadtests.bench $(BENCH)

bench-router: setup  ## what the router's scripts and its process cost (BENCH="--pairs 0 --json FILE" passes options)
	@.venv/bin/python -m loadtests.router_bench $(BENCH)

simulate: setup  ## study scheduling on simulated time, and write docs/scheduling.md again (SIMULATE="..." passes options)
	@.venv/bin/python -m loadtests.simulator run $(SIMULATE)

proto: setup     ## generate proto/gen again from proto/tidegate
	@scripts/proto.sh

lock: setup      ## resolve and pin the dependencies again
	@scripts/lock.sh

env:             ## write .env and .secrets/ for docker compose, with fresh secrets
	@scripts/env.sh

images:          ## build the container images (TARGETS="gateway router" names some)
	@scripts/images.sh $(TARGETS)

tools: setup     ## fetch Prometheus and promtool, which some tests use (no root; needs apt)
	@scripts/tools.sh
