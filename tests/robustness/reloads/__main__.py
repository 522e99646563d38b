"""`python -m tests.robustness.reloads`: SmolLM2 on vLLM changes its weights under eight streams; runs on a CPU too.

No stream may fail, and each answer must be that of the version which it names. What the streams notice is shown beside
the time that vLLM needs to copy the weights.
"""

import asyncio
import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.reloads.drill import MODEL, STREAMS, Report, config, drill, second
from tests.support.cluster import running_cluster
from trainer.sources.packaged import PackagedSmolLM2


def main() -> None:
    arguments = parser("tests.robustness.reloads", __doc__)
    arguments.add_argument("--swaps", type=int, default=10, help="changes of the weights (default: 10)")
    options = arguments.parse_args()
    with folder(keep=options.keep) as made:
        home, models = made / "cluster", made / "models"
        for each in (home, models / MODEL):
            each.mkdir(parents=True)
        plain = PackagedSmolLM2().prepare(models / MODEL)
        other = second(plain, models / "second")
        with running_cluster(home, config(), "--model", str(plain)) as cluster:
            report = asyncio.run(drill(cluster, other, options.swaps))
    print_line(_told(report))
    print_line("\n".join(report.violations) or "no violations")
    sys.exit(1 if report.violations else 0)


def _told(report: Report) -> str:
    rows = [
        f"swap {number}, {swap.mode}: weights copied in {swap.copied_s:.2f} s, worker closed for {swap.closed_s:.2f} s,"
        f" longest pause of a stream {swap.paused_s:.2f} s; {swap.crossed} streams crossed"
        for number, swap in enumerate(report.swaps, start=1)
    ]
    last = (
        f"reloads: {STREAMS} streams, {len(report.swaps)} swaps, {report.streams} answers, {report.compared} of them"
        f" compared; longest pause without a swap {report.calm_s:.2f} s"
    )
    return "\n".join([*rows, last])


if __name__ == "__main__":
    main()
