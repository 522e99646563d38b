"""`python -m tests.robustness.backup`: chat, back up, lose every volume and every key, restore, chat again."""

import asyncio
import sys

from tests.robustness.backup.drill import drill
from tests.robustness.command import folder, parser, print_line


def main() -> None:
    options = parser("tests.robustness.backup", __doc__).parse_args()
    with folder(keep=options.keep) as made:
        before, after = asyncio.run(drill(made))
    text, version = after.answer
    print_line(f"{len(after.rows)} ledger rows, {len(after.keys)} files with keys, {text!r} of {version[:12]}")
    print_line("no violation" if before == after else f"before: {before}\nafter: {after}")
    sys.exit(0 if before == after else 1)


if __name__ == "__main__":
    main()
