"""Writes docs/modules.md: every module with the first line of its docstring.

usage: python scripts/modules.py
"""

import ast
from itertools import groupby
from pathlib import Path

PAGE = Path("docs/modules.md")
INTRODUCTION = """# Modules

Every module with the first line of its docstring. `scripts/modules.py` writes this page; do not edit it by hand.
How the parts work together: [architecture.md](architecture.md).
"""
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
    """The first line of a module's docstring; None when the module has no docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    return docstring.splitlines()[0] if docstring else None


def page() -> str:
    """The whole page, made from the modules as they are now."""
    return f"{INTRODUCTION}\n{_sections()}"


def _sections() -> str:
    sections = []
    for room in ROOMS:
        modules = sorted(Path(room).rglob("*.py"), key=lambda path: (path.parent, path.name))
        for folder, members in groupby(modules, key=lambda path: path.parent):
            named = [path for path in members if path.name not in ("__init__.py", "__main__.py")]
            if named:
                sections.append(_section(folder, named))
    return "\n".join(sections)


def _section(folder: Path, modules: list[Path]) -> str:
    lines = [f"| `{path.name}` | {line} |" for path in modules if (line := first_line(path))]
    return "\n".join([f"## {folder.as_posix()}", "", "| module | purpose |", "|---|---|", *lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page())
