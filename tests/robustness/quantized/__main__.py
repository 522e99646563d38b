"""`python -m tests.robustness.quantized`: SmolLM2 in INT8 on vLLM, on a CPU too; takes several minutes."""

import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.quantized.drill import run, wrong


def main() -> None:
    options = parser("tests.robustness.quantized", __doc__).parse_args()
    with folder(keep=options.keep) as made:
        seen = run(made)
    print_line(f"held-out loss: {seen.loss_before:.4f} before, {seen.loss:.4f} as it is served")
    print_line(
        f"{seen.golden} golden prompts; " + "; ".join(f"{each.text!r} of {each.version[:12]}" for each in seen.answers)
    )
    found = list(wrong(seen))
    print_line("\n".join(found) or "no violation")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
