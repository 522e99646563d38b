"""Writes the map of modules in docs/architecture.md again, from the first line of each module's docstring.

usage: python scripts/modules.py
"""

import ast
from itertools import groupby
from pathlib import Path

PAGE = Path("docs/architecture.md")
MARK = "<!-- The rest of this page is written by scripts/modules.py from the modules' own first lines. -->\n"
ROOMS = (
    "services/gateway",
    "services/router",
    "services/worker",
    "trainer",
    "services/cli",
    "services/local",
    "services/shared",
    "loadtests",
)


def first_line(path: Path) -> str | None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    return docstring.splitlines()[0] if docstring else None


def section(folder: Path, modules: list[Path]) -> str:
    lines = [f"| `{path.name}` | {line} |" for path in modules if (line := first_line(path))]
    return "\n".join([f"### {folder.as_posix()}", "", "| module | is |", "|---|---|", *lines, ""])


def module_map() -> str:
    sections = []
    for room in ROOMS:
        modules = sorted(Path(room).rglob("*.py"), key=lambda path: (path.parent, path.name))
        for folder, members in groupby(modules, key=lambda path: path.parent):
            named = [path for path in members if path.name not in ("__init__.py", "__main__.py")]
            if named:
                sections.append(section(folder, named))
    return "\n".join(sections)


def page() -> str:
    """The page as it should be."""
    written_by_hand, _, _ = PAGE.read_text().partition(MARK)
    return f"{written_by_hand}{MARK}\n{module_map()}"


if __name__ == "__main__":
    PAGE.write_text(page())
