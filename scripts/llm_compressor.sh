#!/usr/bin/env bash
# Installs llm-compressor into .tools/llm-compressor, for `algorithm: gptq` of recipes (TIDEGATE_LLM_COMPRESSOR names its
# Python). Does nothing when it is up to date. Needs .venv and the package indexes. The PyTorch is that for CPUs; for a
# GPU install another one there.
set -euo pipefail
cd "$(dirname "$0")/.."
here=.tools/llm-compressor
torch_index=https://download.pytorch.org/whl/cpu

mkdir -p .tools
exec 9>.tools/llm-compressor.lock
flock 9

wanted=$(cat requirements/llm-compressor.lock requirements/torch-cpu.lock scripts/llm_compressor.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$here/.sha256" 2>/dev/null)" = "$wanted" ]; then exit; fi

rm -rf "$here"
# uv does not read pip's configuration, so it is told pip's index and asked to trust the certificates of this machine.
index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-${index:-https://pypi.org/simple}}}
export UV_NATIVE_TLS=true
install() {
    .venv/bin/uv pip install --quiet --no-config --no-cache --python "$here/bin/python" --no-deps --require-hashes "$@"
}
.venv/bin/uv venv --quiet --no-config --python .venv/bin/python "$here"
install -r requirements/torch-cpu.lock || install --default-index "$torch_index" -r requirements/torch-cpu.lock
install -r requirements/llm-compressor.lock
echo "$wanted" > "$here/.sha256"
