#!/usr/bin/env bash
# Writes requirements/*.lock again from pyproject.toml: every package pinned, every file hashed.
# Wants uv in the virtual environment. Options of uv itself (an index, wheels on disk) may follow.
set -euo pipefail
cd "$(dirname "$0")/.."
export UV_CUSTOM_COMPILE_COMMAND="scripts/lock.sh"
uv=${UV:-.venv/bin/uv}
common=(--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --quiet)

# Every service, the developer's tools, and vLLM for CPUs. Its torchvision, torchaudio and torchcodec are
# built for CUDA and break `import vllm` beside a CPU torch; nothing here needs them, so they are left out.
"$uv" pip compile pyproject.toml --universal --python-version 3.11 "${common[@]}" "$@" \
    --extra gateway --extra router --extra worker-cpu --extra trainer --extra local --extra dev \
    --no-emit-package torchvision --no-emit-package torchaudio --no-emit-package torchcodec \
    --no-emit-package torch --no-emit-package tidegate -o requirements/cpu.lock

# Every service and vLLM for NVIDIA GPUs (what the cuda image installs).
"$uv" pip compile pyproject.toml --python-version 3.12 --python-platform x86_64-manylinux_2_28 "${common[@]}" "$@" \
    --extra gateway --extra router --extra worker-gpu --extra trainer --extra local \
    --override requirements/overrides-gpu.txt --no-emit-package tidegate -o requirements/gpu.lock
