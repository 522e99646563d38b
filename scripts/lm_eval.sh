#!/usr/bin/env bash
# Installs lm-evaluation-harness into .tools/lm-eval, for tests/clients/test_lm_eval.py. Does nothing when it is up to
# date. Needs .venv and the package index of Python.
set -euo pipefail
cd "$(dirname "$0")/.."
here=.tools/lm-eval

mkdir -p .tools
exec 9>.tools/lm-eval.lock
flock 9

wanted=$(cat requirements/lm-eval.lock scripts/lm_eval.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$here/.sha256" 2>/dev/null)" = "$wanted" ]; then exit; fi

rm -rf "$here"
# uv does not read pip's configuration, so it is told pip's index and asked to trust the certificates of this machine.
index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-${index:-https://pypi.org/simple}}}
export UV_NATIVE_TLS=true
.venv/bin/uv venv --quiet --no-config --python .venv/bin/python "$here"
.venv/bin/uv pip install --quiet --no-config --no-cache --python "$here/bin/python" --no-deps --require-hashes \
    -r requirements/lm-eval.lock
echo "$wanted" > "$here/.sha256"
