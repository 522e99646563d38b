"""`python -m tests.conformance`: checks what clients count on, and prints check, target and verdict.

With `--url` it checks the server there. Without, it starts a simulated cluster, and with `--vllm` a plain `vllm serve`
beside it, one after the other; `--record` then keeps what vLLM does for docs/api.md.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from tests.conformance import recorded, table
from tests.conformance.check import Check, all_checks
from tests.conformance.suite import run, with_verdict
from tests.conformance.target import Target
from tests.conformance.vllm_serve import vllm_serve
from tests.support.cluster import running_cluster

SIMULATED = "pools:\n  - {name: tide, model: simulated, workers: 2, engine: {kind: simulated, step_ms: 1}}\n"


def main() -> None:
    options = _parser().parse_args()
    checks = [check for check in all_checks() if check.name.startswith(tuple(options.only or [""]))]
    columns = _columns(options, checks)
    if options.record:
        recorded.write(columns["vllm serve"])
    if options.json:
        sys.stdout.write(orjson.dumps(table.as_document(checks, columns), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.write(table.as_text(checks, columns) + "\n")
    ours = columns.get("tidegate", {})
    sys.exit(1 if with_verdict(ours, "failed") else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--url", help="base URL of a server; it ends with /v1")
    parser.add_argument("--key", default=os.environ.get("OPENAI_API_KEY", ""), help="API key (default: OPENAI_API_KEY)")
    parser.add_argument("--model", help="a chat model of that server")
    parser.add_argument("--name", default="server", help="how the table calls that server")
    parser.add_argument("--no-grammar", action="store_true", help="the model has no structured outputs")
    parser.add_argument("--vllm", action="store_true", help="start a plain `vllm serve` too, and check it")
    parser.add_argument("--record", action="store_true", help="keep what vLLM does, for the table in docs/api.md")
    parser.add_argument(
        "--only", action="append", help="only checks that begin so: chat, or chat.stops; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _columns(options: argparse.Namespace, checks: Sequence[Check]) -> Mapping[str, table.Outcomes]:
    if options.url:
        can = frozenset() if options.no_grammar else frozenset({"grammar"})
        target = Target(options.name, options.url, options.key, options.model or "", can)  # type: ignore[arg-type]
        return {target.name: asyncio.run(run(target, checks))}
    columns: dict[str, table.Outcomes] = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        with running_cluster(_new(scratch, "cluster"), SIMULATED) as cluster:
            target = Target("tidegate", cluster.rest, cluster.key, "tide", frozenset({"script"}))
            columns[target.name] = asyncio.run(run(target, checks))
        if options.vllm or options.record:
            with vllm_serve(_new(scratch, "model")) as target:
                columns[target.name] = asyncio.run(run(target, checks, at_once=2))
    return columns


def _new(scratch: str, name: str) -> Path:
    folder = Path(scratch) / name
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
