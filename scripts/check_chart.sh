#!/usr/bin/env bash
# Renders the examples of the Helm chart and has checkov look at them. It comes into a folder of its own, .tools/checkov;
# deploy/helm/checkov.yaml answers what it would say.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=.tools/checkov
if [ ! -x "$folder/bin/checkov" ]; then
    .venv/bin/python -m venv "$folder"
    "$folder/bin/pip" install --quiet checkov==3.3.30
fi
renders=$(mktemp -d)
trap 'rm -r "$renders"' EXIT
.venv/bin/python scripts/render_chart.py "$renders"
"$folder/bin/checkov" --directory "$renders" --config-file deploy/helm/checkov.yaml
