#!/usr/bin/env bash
# The load of profiles/steady.yaml, sent by AIPerf: loadtests/aiperf/run.sh TOKENIZER [SECONDS]
# TOKENIZER counts the prompts' tokens: a folder, or a name if a model hub can be reached.
# Needs `aiperf` on PATH, and OPENAI_BASE_URL and OPENAI_API_KEY: source .tidegate/local.env
set -euo pipefail
tokenizer=$1
seconds=${2:-60}
model=${MODEL:-$(curl --silent --fail "$OPENAI_BASE_URL/models" -H "Authorization: Bearer $OPENAI_API_KEY" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')}

# Tokens are counted by the API's usage field, because another tokenizer than the server's would count wrongly.
exec aiperf profile --model "$model" --url "${OPENAI_BASE_URL%/v1}" --api-key "$OPENAI_API_KEY" \
    --endpoint-type chat --streaming --tokenizer "$tokenizer" --use-server-token-count \
    --request-rate 8 --arrival-pattern poisson --benchmark-duration "$seconds" --random-seed 1 \
    --prompt-input-tokens-mean 120 --prompt-input-tokens-stddev 70 \
    --prompt-output-tokens-mean 100 --prompt-output-tokens-stddev 50 --extra-inputs ignore_eos:true \
    --goodput "time_to_first_token:500 inter_token_latency:25 request_latency:10000" \
    --no-server-metrics --no-gpu-telemetry --ui simple --output-artifact-dir build/loadtests/aiperf
