#!/usr/bin/env bash
# All checks that do not run the code: style, types, import rules, contracts.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
"$bin/ruff" check --quiet .
"$bin/ruff" format --check --quiet .
"$bin/mypy" --no-error-summary services trainer loadtests tests
"$bin/lint-imports" --no-cache >/dev/null || "$bin/lint-imports" --no-cache
"$bin/buf" lint proto
scripts/proto.sh --check
