"""`python -m tests.robustness.staging`: a worker is killed while it downloads a large version of sparse files."""

import asyncio
import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.staging.drill import Setup, drill

_GIB = 1 << 30


def main() -> None:
    arguments = parser("tests.robustness.staging", __doc__)
    arguments.add_argument("--gib", type=float, default=20.0, help="size of the version (default: 20)")
    arguments.add_argument("--kills", type=int, default=3, help="times that the worker is killed (default: 3)")
    options = arguments.parse_args()
    setup = Setup(shards=10, shard_bytes=int(options.gib * _GIB / 10), kills=options.kills, seed=options.seed)
    with folder(keep=options.keep) as made:
        report = asyncio.run(drill(made, setup))
    halves = " and ".join(str(most >> 20) for most in report.halves.values())
    print_line(
        f"staging, seed {options.seed}: {report.size >> 20} MiB, killed with {[size >> 20 for size in report.on_disk]}"
        f" MiB on the disk; {report.sent >> 20} MiB were sent in all, {report.last >> 20} MiB to the last process; it"
        f" grew by at most {report.memory >> 20} MiB, and had at most {halves} MiB in the first and second half; one"
        f" shard of {report.shard >> 20} MiB changed:"
        f" {report.changed >> 20} MiB were sent"
    )
    print_line("\n".join(report.violations) or "no violations")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
