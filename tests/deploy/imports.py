"""What a program imports, read from its source and that of our modules that it imports, at their starts and later.

A module whose name stands in the source counts as imported: a program starts another one by the name of its module.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

OURS = {"services": Path(), "trainer": Path(), "loadtests": Path(), "tidegate": Path("proto/gen")}
"""Our packages, and where they are."""
_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")


def packages(module: str) -> set[str]:
    """Top-level names of other people's packages that `module` needs. Python's own are left out."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _imported(name)
    return {name.partition(".")[0] for name in seen} - OURS.keys() - sys.stdlib_module_names


def _imported(module: str) -> Iterator[str]:
    """`from a import b` may mean a module a.b, so it counts as both."""
    if (file := _file(module)) is None:
        return
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and _is_module(node.value):
            yield node.value


def _is_module(value: object) -> TypeGuard[str]:
    """Whether a constant is the full name of a module of ours."""
    return isinstance(value, str) and bool(_NAME.fullmatch(value)) and _file(value) is not None


def _file(module: str) -> Path | None:
    """None for what is not ours, and for names that are no modules."""
    if (folder := OURS.get(module.partition(".")[0])) is None:
        return None
    path = folder / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
