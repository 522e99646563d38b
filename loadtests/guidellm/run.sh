#!/usr/bin/env bash
# The load of profiles/steady.yaml, sent by GuideLLM: loadtests/guidellm/run.sh TOKENIZER [SECONDS]
# TOKENIZER counts the prompts' tokens: a folder, or a name if a model hub can be reached.
# Needs `guidellm` on PATH, and OPENAI_BASE_URL and OPENAI_API_KEY: source .tidegate/local.env
set -euo pipefail
tokenizer=$1
seconds=${2:-60}
model=${MODEL:-$(curl --silent --fail "$OPENAI_BASE_URL/models" -H "Authorization: Bearer $OPENAI_API_KEY" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')}
results=build/loadtests/guidellm
mkdir -p "$results"

# GuideLLM's check before the start uses vLLM's /health; here that is /readyz. Usage comes at the end of a stream, not with
# every event.
usage='{"body": {"stream_options": {"continuous_usage_stats": false}}}'
backend=$(printf '{"kind": "openai_http", "target": "%s", "api_key": "%s", "model": "%s", "validate_backend": false, "extras": %s}' \
    "${OPENAI_BASE_URL%/v1}" "$OPENAI_API_KEY" "$model" "$usage")
exec guidellm run \
    --backend "$backend" \
    --tokenizer "kind=hf_auto,model=$tokenizer" \
    --data "kind=synthetic_text,prompt_tokens=120,prompt_tokens_stdev=70,prompt_tokens_min=8,prompt_tokens_max=1000,output_tokens=100,output_tokens_stdev=50,output_tokens_min=8,output_tokens_max=400" \
    --profile kind=poisson,rate=8 --constraint "kind=max_duration,seconds=$seconds" --seed kind=static,value=1 \
    --output "kind=json,path=$results/report.json" --output kind=console --disable-progress
