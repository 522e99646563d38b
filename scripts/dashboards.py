"""Writes the Grafana dashboards of deploy/observability/dashboards, one for each subject.

usage: python scripts/dashboards.py [--check]

--check writes nothing; it fails when a file is not current. Labels that a Prometheus does not set, such as `namespace`
outside Kubernetes, match every value of the variables.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "deploy/observability/dashboards"
HEIGHT, WIDTH, COLUMNS = 8, 8, 3
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES = {
    "namespace": "label_values(tidegate_router_workers, namespace)",
    "release": 'label_values(tidegate_router_workers{namespace=~"$namespace"}, release)',
    "pool": 'label_values(tidegate_router_workers{namespace=~"$namespace",release=~"$release"}, pool)',
    "model": 'label_values(llm_requests_total{namespace=~"$namespace",release=~"$release"}, model)',
}
# Selectors, by what the series of a metric have.
R = 'namespace=~"$namespace",release=~"$release"'
P = R + ',pool=~"$pool"'
M = R + ',model=~"$model"'
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel. queries: expression and legend of each line."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    about: str = ""


def panel(title: str, unit: str, *queries: tuple[str, str], about: str = "") -> Panel:
    """One panel."""
    return Panel(title, unit, queries, about)


def quantiles(metric: str, selector: str, by: str, legend: str) -> tuple[tuple[str, str], ...]:
    """Median and 99th percentile of a histogram."""
    return tuple(
        (f"histogram_quantile({q}, sum by ({by}, le) (rate({metric}_bucket{{{selector}}}{RATE})))", f"{legend} {name}")
        for q, name in ((0.5, "p50"), (0.99, "p99"))
    )


def rate(metric: str, selector: str, by: str) -> str:
    """The rate of a counter."""
    return f"sum by ({by}) (rate({metric}{{{selector}}}{RATE}))"


def share(part: str, whole: str, selector: str, by: str) -> str:
    """The rate of one counter in that of another."""
    return f"{rate(part, selector, by)} / {rate(whole, selector, by)}"


def price(kind: str) -> str:
    """The price of a token, by model."""
    return f'max by (namespace, release, model) (tidegate_gateway_price{{{M},tier="default",kind="{kind}"}}) / 1000000'


def of_pools(kind: str) -> str:
    """Prompt tokens a second by the name of the model, which is that of the pool."""
    tokens = f'sum by (namespace, release, pool) (rate(tidegate_router_prompt_tokens_total{{{P},kind="{kind}"}}{RATE}))'
    return f'label_replace({tokens}, "model", "$1", "pool", "(.*)")'


def worth(tokens: str, kind: str) -> str:
    """What tokens a second are worth, in the currency of the price list for an hour."""
    return f"sum by (model) (3600 * {tokens} * on (namespace, release, model) group_left () ({price(kind)}))"


FIRST = f'{P},position="1"'
"""The first position of a draft: every draft has it."""
CLASS = "pool, service_class"
CLASS_LEGEND = "{{pool}} {{service_class}}"
INFO = "on (instance, pool) group_left (version) tidegate_worker_info"

DASHBOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "service-levels": (
        "Service levels",
        (
            panel("Requests", "reqps", (rate("llm_requests_total", M, "model, status"), "{{model}} {{status}}")),
            panel(
                "Errors that are ours",
                "percentunit",
                (f"tidegate:errors:ratio_rate5m{{{M}}}", "{{model}} 5 min"),
                (f"tidegate:errors:ratio_rate1h{{{M}}}", "{{model}} 1 h"),
                about="5xx among all answers. The objective is 0.1 %.",
            ),
            panel(
                "First tokens after their objective",
                "percentunit",
                (f"tidegate:ttft_late:ratio_rate5m{{{P}}}", f"{CLASS_LEGEND} 5 min"),
                (f"tidegate:ttft_late:ratio_rate1h{{{P}}}", f"{CLASS_LEGEND} 1 h"),
                about="Share of first tokens that came later than the objective of their class. The objective is 1 %.",
            ),
            panel(
                "Time to first token",
                "s",
                *quantiles("tidegate_gateway_ttft_seconds", P, CLASS, CLASS_LEGEND),
            ),
            panel(
                "Time per output token",
                "s",
                *quantiles("tidegate_gateway_tpot_seconds", P, CLASS, CLASS_LEGEND),
                about="The mean of each complete answer, after its first token.",
            ),
            panel(
                "Whole answers",
                "s",
                *quantiles("llm_request_latency_seconds", M, "model", "{{model}}"),
                about="Long answers take long: no alert looks at this.",
            ),
            panel(
                "Objectives for the first token",
                "s",
                (f"max by ({CLASS}) (tidegate_router_ttft_objective_seconds{{{P}}})", CLASS_LEGEND),
            ),
            panel("Tokens generated", "short", (rate("llm_tokens_generated_total", M, "model"), "{{model}}")),
            panel(
                "Streams that moved",
                "short",
                (rate("tidegate_gateway_retries_total", R, "reason"), "{{reason}}"),
                about="Attempts given to another worker, a second; empty while no worker fails.",
            ),
            panel(
                "Gap of a stream that moved, p99",
                "s",
                (
                    f"histogram_quantile(0.99, sum by (le) (rate(tidegate_gateway_resume_gap_seconds_bucket{{{R}}}"
                    f"{RATE})))",
                    "gap",
                ),
            ),
            panel("Open requests", "short", (f"sum(tidegate_gateway_open_requests{{{R}}})", "open")),
            panel(
                "Processes that cannot be scraped",
                "short",
                (
                    f'sum by (component) (up{{{R},component=~"gateway|router|worker|trainer"}} == bool 0)',
                    "{{component}}",
                ),
            ),
        ),
    ),
    "queue-and-tiers": (
        "Queue and tiers",
        (
            panel("Queue by class", "short", (f"tidegate:queue_size{{{P}}}", CLASS_LEGEND)),
            panel("Wait for a worker", "s", *quantiles("tidegate_router_wait_seconds", P, CLASS, CLASS_LEGEND)),
            panel(
                "A request that came now would wait",
                "s",
                (f"max by ({CLASS}) (tidegate_router_expected_wait_seconds{{{P}}})", CLASS_LEGEND),
                about="At the present pace of grants.",
            ),
            panel("Running by class", "short", (f"max by ({CLASS}) (tidegate_router_running{{{P}}})", CLASS_LEGEND)),
            panel(
                "Tokens that wait",
                "short",
                (f"max by ({CLASS}) (tidegate_router_queued_tokens{{{P}}})", CLASS_LEGEND),
                about="As estimated from prompts and limits.",
            ),
            panel(
                "Answers to Submit",
                "reqps",
                (rate("tidegate_router_answers_total", P, "pool, service_class, answer"), CLASS_LEGEND + " {{answer}}"),
            ),
            panel(
                "Requests made to yield",
                "reqps",
                (f'sum(rate(tidegate_router_events_total{{{R},kind="yieldasked"}}{RATE})) or vector(0)', "asked"),
                (
                    f'sum(rate(tidegate_router_finished_total{{{P},outcome="yielded"}}{RATE})) or vector(0)',
                    "yielded",
                ),
                about="Running work that gave way to a class with an objective in danger.",
            ),
            panel(
                "Requests that ended", "reqps", (rate("tidegate_router_finished_total", P, "outcome"), "{{outcome}}")
            ),
            panel(
                "Redis: round trips",
                "s",
                *quantiles("tidegate_router_redis_seconds", R, "instance", "{{instance}}"),
            ),
            panel(
                "Redis: scripts inside it",
                "s",
                (
                    f'max by (pool) (tidegate_router_redis_script_quantile_seconds{{{P},quantile="0.99"}})',
                    "{{pool}} p99",
                ),
                (f"max by (pool) (rate(tidegate_router_redis_script_seconds{{{P}}}{RATE}))", "{{pool}} share of time"),
                about="At a share of 1 a Redis can do no more: give pools masters of their own.",
            ),
            panel(
                "Redis: memory",
                "bytes",
                (f"max by (pool) (tidegate_router_redis_memory_bytes{{{P}}})", "{{pool}} used"),
                (f"max by (pool) (tidegate_router_redis_memory_limit_bytes{{{P}}})", "{{pool}} limit"),
            ),
            panel(
                "Redis: calls that failed",
                "ops",
                (f"sum(rate(tidegate_router_redis_failures_total{{{R}}}{RATE}))", "round trips lost"),
                (f"sum(rate(tidegate_router_redis_refused_total{{{R}}}{RATE}))", "scripts refused"),
            ),
        ),
    ),
    "workers-and-kv": (
        "Workers and KV",
        (
            panel(
                "Workers by state",
                "short",
                (f"tidegate:workers{{{P}}}", "{{pool}} {{state}}"),
                (f"max by (pool) (tidegate_router_desired_workers{{{P}}})", "{{pool}} desired"),
            ),
            panel(
                "Requests that run",
                "short",
                (f"max by (pool) (tidegate_router_granted{{{P}}})", "{{pool}} granted"),
                (f"sum by (pool) (tidegate_worker_running{{{P}}})", "{{pool}} computed"),
                (f"sum by (pool) (tidegate_worker_waiting{{{P}}})", "{{pool}} waiting in engines"),
            ),
            panel("Engine steps", "ops", (rate("tidegate_worker_steps_total", P, "pool, instance"), "{{instance}}")),
            panel(
                "Tokens generated by worker",
                "short",
                (rate("tidegate_worker_tokens_generated_total", P, "pool, instance"), "{{pool}} {{instance}}"),
            ),
            panel(
                "KV cache in use",
                "percentunit",
                (
                    f"tidegate_worker_kv_tokens_used{{{P}}} / (tidegate_worker_kv_tokens{{{P}}} > 0)",
                    "{{pool}} {{instance}}",
                ),
                about="By running requests; the prefix cache holds more.",
            ),
            panel(
                "Prompt tokens from the cache",
                "percentunit",
                *(
                    (
                        f'sum by (pool) (rate(tidegate_router_prompt_tokens_total{{{P},kind="{kind}"}}{RATE}))'
                        f' / sum by (pool) (rate(tidegate_router_prompt_tokens_total{{{P},kind="all"}}{RATE}))',
                        f"{{{{pool}}}} {name}",
                    )
                    for kind, name in (("cached", "found"), ("expected", "expected"))
                ),
                about="Share of all prompt tokens: found by engines, and expected by placement.",
            ),
            panel(
                "KV cache in use (vLLM)", "percentunit", (f"vllm:kv_cache_usage_perc{{{P}}}", "{{pool}} {{instance}}")
            ),
            panel(
                "Preemptions inside vLLM",
                "ops",
                (rate("vllm:num_preemptions_total", P, "pool, instance"), "{{pool}} {{instance}}"),
                about="Sequences that lost their KV cache and are computed again: the cache is too small.",
            ),
            panel(
                "Time per output token (vLLM)",
                "s",
                *quantiles("vllm:request_time_per_output_token_seconds", P, "pool", "{{pool}}"),
            ),
            panel("GPU memory", "bytes", (f"llm_gpu_memory_bytes{{{P}}}", "{{pool}} {{instance}} {{gpu_id}}")),
            panel(
                "How requests ended at workers",
                "reqps",
                (rate("tidegate_worker_requests_total", P, "pool, outcome"), "{{pool}} {{outcome}}"),
            ),
            panel(
                "Things ended by time",
                "ops",
                (rate("tidegate_router_reaped_total", P, "pool, kind"), "{{pool}} {{kind}}"),
            ),
        ),
    ),
    "speculation": (
        "Speculation",
        (
            panel(
                "Draft tokens accepted",
                "percentunit",
                (
                    share(
                        "tidegate_worker_accepted_draft_tokens_total", "tidegate_worker_draft_tokens_total", P, "pool"
                    ),
                    "{{pool}}",
                ),
            ),
            panel(
                "Tokens in each step of a sequence",
                "short",
                (
                    f"1 + {rate('tidegate_worker_accepted_draft_tokens_total', P, 'pool')}"
                    f" / {rate('tidegate_worker_draft_tokens_total', FIRST, 'pool')}",
                    "{{pool}}",
                ),
                about="Of sequences that had a draft. 1 without any accepted token.",
            ),
            panel(
                "Accepted by position",
                "percentunit",
                (
                    share(
                        "tidegate_worker_accepted_draft_tokens_total",
                        "tidegate_worker_draft_tokens_total",
                        P,
                        "pool, position",
                    ),
                    "{{pool}} {{position}}",
                ),
                about="Where the last positions are hardly ever accepted, fewer draft tokens are cheaper.",
            ),
            panel(
                "Workers that draft",
                "short",
                (f"sum by (pool) (tidegate_worker_drafting{{{P}}})", "{{pool}}"),
                about="Of those that switch drafts off where they do not pay.",
            ),
            panel(
                "Drafts switched",
                "ops",
                (rate("tidegate_worker_draft_switches_total", P, "pool, to"), "{{pool}} {{to}}"),
                about="A few at the start of a worker and when its load changes. Many: its times are very uneven.",
            ),
        ),
    ),
    "adapters": (
        "Adapters",
        (
            panel(
                "Requests of adapters",
                "reqps",
                (rate("llm_requests_total", M + ',model=~".+:.+"', "model"), "{{model}}"),
            ),
            panel(
                "Adapters that were loaded",
                "ops",
                (rate("tidegate_worker_adapter_loads_total", P, "pool, outcome"), "{{pool}} {{outcome}}"),
            ),
            panel(
                "Adapters that made room",
                "ops",
                (rate("tidegate_worker_adapter_evictions_total", P, "pool"), "{{pool}}"),
                about="Many: raise `max_loaded`.",
            ),
            panel(
                "Adapters in vLLM's memory", "short", (f"vllm:lora_requests_info{{{P}}}", "{{running_lora_adapters}}")
            ),
        ),
    ),
    "versions-and-rollouts": (
        "Versions and rollouts",
        (
            panel(
                "Workers by model version",
                "short",
                (f"max by (pool, version) (tidegate_router_worker_versions{{{P}}})", "{{pool}} {{version}}"),
            ),
            panel(
                "Tokens by model version",
                "short",
                (
                    f"sum by (pool, version) (rate(tidegate_worker_tokens_generated_total{{{P}}}{RATE}) * {INFO})",
                    "{{pool}} {{version}}",
                ),
            ),
            panel(
                "Rollouts",
                "short",
                (f"sum by (pool, state) (increase(tidegate_router_rollouts_total{{{P}}}[1h]))", "{{pool}} {{state}}"),
                about="That came to a state within the last hour.",
            ),
            panel(
                "Rollouts that a gate ended",
                "short",
                (
                    f"sum by (pool, figure) (increase(tidegate_router_gate_failures_total{{{P}}}[1h]))",
                    "{{pool}} {{figure}}",
                ),
                about="By the figure in which the new version was worse. Within the last hour.",
            ),
            panel(
                "Deliveries",
                "short",
                (
                    f"sum by (pool, outcome) (increase(tidegate_worker_deliveries_total{{{P}}}[1h]))",
                    "{{pool}} {{outcome}}",
                ),
                about="A delivery brings one model version into one worker. Within the last hour.",
            ),
            panel(
                "Swap of weights, p99",
                "s",
                *(
                    (
                        f"histogram_quantile(0.99, sum by (pool, le) (increase({metric}_bucket{{{P}}}[1h])))",
                        f"{{{{pool}}}} {name}",
                    )
                    for metric, name in (
                        ("tidegate_worker_swap_seconds", "swap"),
                        ("tidegate_worker_delivery_gap_seconds", "nothing generated"),
                    )
                ),
            ),
            panel(
                "Golden prompts proved",
                "short",
                (f"tidegate_worker_golden_prompts_proved{{{P}}}", "{{pool}} {{instance}}"),
                about="0: the version has none, and nothing proves that it was loaded right.",
            ),
        ),
    ),
    "trainer": (
        "Trainer",
        (
            panel("Jobs", "short", (f"max by (state) (tidegate_trainer_jobs{{{R}}})", "{{state}}")),
            panel(
                "Runs that ended",
                "short",
                (f"sum by (outcome) (increase(tidegate_trainer_runs_total{{{R}}}[1h]))", "{{outcome}}"),
                about="Within the last hour.",
            ),
            panel(
                "Progress",
                "short",
                (f"tidegate_trainer_step{{{R}}}", "{{instance}} step"),
                (f"tidegate_trainer_steps{{{R}}}", "{{instance}} of"),
            ),
            panel("Loss", "none", (f"tidegate_trainer_loss{{{R}}}", "{{instance}}"), about="Nats a token."),
            panel("Learning rate", "none", (f"tidegate_trainer_learning_rate{{{R}}}", "{{instance}}")),
            panel(
                "Gradient norm",
                "none",
                (f"tidegate_trainer_gradient_norm{{{R}}}", "{{instance}}"),
                about="Before it is clipped.",
            ),
            panel(
                "Tokens learnt",
                "none",
                (f"tidegate_trainer_tokens_per_second{{{R}}}", "{{instance}}"),
                about="A second.",
            ),
            panel(
                "Memory",
                "bytes",
                (f"tidegate_trainer_memory_bytes{{{R}}}", "{{instance}}"),
                about="The most that the job has taken, of the GPU or else of the machine.",
            ),
            panel(
                "Model FLOPs utilization",
                "percentunit",
                (f"tidegate_trainer_mfu_ratio{{{R}}}", "{{instance}}"),
                about="Where the peak of the device is known, or TIDEGATE_PEAK_TFLOPS says it.",
            ),
        ),
    ),
    "ledger": (
        "Ledger spool",
        (
            panel(
                "Rows that wait for the database",
                "short",
                (f"tidegate_gateway_ledger_rows_spooled{{{R}}}", "{{instance}}"),
            ),
            panel(
                "Rows written",
                "ops",
                (rate("tidegate_gateway_ledger_rows_written_total", R, "instance"), "{{instance}}"),
            ),
            panel(
                "Disk in use",
                "percentunit",
                (
                    f"tidegate_gateway_ledger_spool_bytes{{{R}}} / tidegate_gateway_ledger_spool_limit_bytes{{{R}}}",
                    "{{instance}}",
                ),
                about="At 1 the gateway refuses requests.",
            ),
        ),
    ),
    "cost": (
        "Cost",
        (
            panel(
                "Worth of answers, an hour",
                "short",
                (
                    worth(
                        f"sum by (namespace, release, model) (rate(llm_tokens_generated_total{{{M}}}{RATE}))",
                        "completion",
                    ),
                    "{{model}}",
                ),
                about="At the price list of tidegate.yaml, for the tier default. `tidegate usage` has the exact sums.",
            ),
            panel(
                "Worth of prompts, an hour",
                "short",
                (worth(of_pools("all"), "prompt"), "{{model}} if nothing were cached"),
                (worth(of_pools("cached"), "cached"), "{{model}} cached part"),
                about="Of pools; prompts of adapters count for their pool.",
            ),
            panel(
                "Tokens that a worker generates",
                "short",
                (
                    f"{rate('tidegate_worker_tokens_generated_total', P, 'pool')}"
                    f" / on (pool) count by (pool) (tidegate_worker_steps_total{{{P}}})",
                    "{{pool}}",
                ),
                about="A second and worker: the price of a worker's hour by this is the cost of a token.",
            ),
            panel(
                "Slots in use",
                "percentunit",
                (
                    f"sum by (pool) (tidegate_worker_running{{{P}}})"
                    f" / on (pool) (sum by (pool) (tidegate_worker_slots{{{P}}}) > 0)",
                    "{{pool}}",
                ),
                about="What is paid for and not used.",
            ),
            panel(
                "Prompt tokens that cost no prefill",
                "short",
                (f'sum by (pool) (rate(tidegate_router_prompt_tokens_total{{{P},kind="cached"}}{RATE}))', "{{pool}}"),
            ),
        ),
    ),
}


def main() -> None:
    """Writes or checks the files."""
    expected = {FOLDER / f"{name}.json": text(name, *about) for name, about in DASHBOARDS.items()}
    if "--check" not in sys.argv[1:]:
        for file in set(FOLDER.glob("*.json")) - expected.keys():
            file.unlink()
        for file, content in expected.items():
            file.write_text(content)
    elif {file: file.read_text() for file in FOLDER.glob("*.json")} != expected:
        sys.exit(f"{FOLDER.name} differs from {Path(__file__).name}: run it")


def text(name: str, title: str, panels: tuple[Panel, ...]) -> str:
    """One dashboard as JSON."""
    document = {
        "title": f"Tidegate: {title}",
        "uid": f"tidegate-{name}",
        "tags": ["tidegate", "llm"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), *(_variable(*one) for one in VARIABLES.items())]},
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "Tidegate",
                "tags": ["tidegate"],
                "asDropdown": True,
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "panels": [_panel(number, one) for number, one in enumerate(panels)],
    }
    return json.dumps(document, indent=2) + "\n"


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": PROMETHEUS,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # Matches series without the label too.
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, one: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": one.title,
        "description": one.about,
        "id": number + 1,
        "datasource": PROMETHEUS,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": WIDTH * (number % COLUMNS), "y": HEIGHT * (number // COLUMNS)},
        "fieldConfig": {
            "defaults": {"unit": one.unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": PROMETHEUS, "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(one.queries)
        ],
    }


if __name__ == "__main__":
    main()
