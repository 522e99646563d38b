"""`python -m tests.robustness.adapters`: more adapters than a vLLM worker holds, new versions, bad ones."""

import os
import sys
from pathlib import Path

import pytest

from tests.robustness.command import parser

REQUESTS, SEED = "DRILL_REQUESTS", "DRILL_SEED"


def main() -> None:
    arguments = parser("tests.robustness.adapters", __doc__)
    arguments.add_argument("--requests", type=int, default=200, help="requests in random order (default: 200)")
    options = arguments.parse_args()
    os.environ |= {REQUESTS: str(options.requests), SEED: str(options.seed)}
    sys.exit(pytest.main([str(Path(__file__).with_name("drill.py")), "-q"]))


if __name__ == "__main__":
    main()
