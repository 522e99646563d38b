#!/usr/bin/env bash
# What a machine can say about the code without running it: style, types, import rules, contracts.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
"$bin/ruff" check --quiet .
"$bin/ruff" format --check --quiet .
"$bin/mypy" --no-error-summary services trainer loadtests tests
"$bin/lint-imports" --no-cache >/dev/null || "$bin/lint-imports" --no-cache
"$bin/buf" lint proto
scripts/proto.sh --check
