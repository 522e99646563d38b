#!/usr/bin/env bash
# Generates proto/gen from proto/tidegate. With --check, it only compares and fails when they differ.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
PATH="$PWD/.venv/bin:$PATH" .venv/bin/python -W ignore -m grpc_tools.protoc --proto_path=proto \
    --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet,only_async:$out" \
    $(find proto/tidegate -name '*.proto' | sort)
find "$out" -type d -exec touch {}/__init__.py \;
rm "$out/__init__.py"
if [ "${1:-}" = --check ]; then
    diff -r --exclude=__pycache__ "$out" proto/gen >/dev/null || { echo "proto/gen differs from proto/tidegate: run 'make proto'" >&2; exit 1; }
else
    rm -rf proto/gen && mkdir -p proto/gen && cp -r "$out/." proto/gen/
fi
