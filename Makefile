.DEFAULT_GOAL := help
.PHONY: help setup up down test check lint proto lock bench
UP ?=
PYTEST ?=

help:            ## show these verbs
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {gsub(/ +$$/, "", $$1); printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:           ## make .venv from the pinned requirements (the other verbs do it themselves)
	@scripts/bootstrap.sh

up: setup        ## start a cluster with a real model on this machine (UP="--workers 2" passes options)
	@.venv/bin/tidegate up $(UP)

down: setup      ## stop the cluster that `up` started
	@.venv/bin/tidegate down

test: setup      ## every test that needs no GPU (PYTEST="-k name" passes options)
	@scripts/check.sh
	@.venv/bin/python -m pytest $(PYTEST)

check: setup     ## the fast part: lint, types, import rules, contracts, unit tests
	@scripts/check.sh
	@.venv/bin/python -m pytest -q tests/unit tests/tidy $(PYTEST)

lint: setup      ## lint, types, import rules and contracts alone
	@scripts/check.sh

proto: setup     ## generate proto/gen again from proto/tidegate
	@scripts/proto.sh

lock: setup      ## resolve and pin the dependencies again
	@scripts/lock.sh
