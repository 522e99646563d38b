"""The pages that people read: their lines are short, their links lead somewhere, and the files that they name exist."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MAX_COLUMNS = 120
NAMED_FILE = re.compile(r"`([\w./-]+\.(?:py|lua|sh|proto))`")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)")
# Names that stand for any name: NAME.lua, a.lua.
PLACEHOLDER = re.compile(r"NAME|(^|/)[a-z]\.\w+$")


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", *patterns], capture_output=True, text=True, check=True)
    return listed.stdout.split()


PAGES = [Path(name) for name in tracked("*.md")]


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without tables, code and the addresses of links."""
    is_code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            is_code = not is_code
        elif not is_code and not line.lstrip().startswith("|"):
            yield number, line


def is_long(line: str) -> bool:
    without_addresses = re.sub(r"\]\([^)]*\)", "]", line)
    return len(without_addresses) > MAX_COLUMNS and not line.startswith(("[", "!["))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_lines_are_short(page: Path) -> None:
    assert not [f"{page}:{number}" for number, line in prose(page) if is_long(line)]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    targets = {target for _, line in prose(page) for target in LINK.findall(line)}
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_pages_name_exist(page: Path) -> None:
    """A page may leave out the folders in front: `worker/serve.py` is services/worker/serve.py."""
    files = [f"/{name}" for name in tracked()]
    named = {name for name in NAMED_FILE.findall(page.read_text()) if not PLACEHOLDER.search(name)}
    assert not [name for name in named if not any(file.endswith(f"/{name}") for file in files)]
