"""`python -m tests.conformance.page`: writes the table of differences into docs/api.md."""

from pathlib import Path

from tests.conformance.differences import DIFFERENCES
from tests.conformance.recorded import read

PAGE = Path(__file__).parents[2] / "docs/api.md"
BEGIN = "<!-- Written by `python -m tests.conformance.page` from here. -->\n"
END = "<!-- Written by hand from here. -->\n"


def rows() -> str:
    """Returns the table, with the version of vLLM that it was compared with."""
    head = [
        f"Compared with `vllm serve` {read()['vllm']}:",
        "",
        "| | `vllm serve` | Tidegate | why |",
        "|---|---|---|---|",
    ]
    table = [f"| {row.what} | {row.vllm} | {row.tidegate} | {row.reason} |" for row in DIFFERENCES]
    return "\n".join([*head, *table]) + "\n"


def written(page: str) -> str:
    """Returns the page with the table as it is now."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}{rows()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
