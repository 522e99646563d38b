"""`$ref` in JSON schemas: pointers by RFC 6901, percent-encoded or not, anchors, and the root by its own name."""

from typing import Any
from urllib.parse import unquote

from services.gateway.openai.schemas.problem import SchemaProblem

_ANCHORS = ("$anchor", "$dynamicAnchor")
_IDS = ("$id", "id")


class References:
    """Finds what the references of one schema name. It fetches nothing."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._base = next((str(root[name]) for name in _IDS if root.get(name)), "") if isinstance(root, dict) else ""
        self._anchors: dict[str, str] | None = None

    def pointer(self, reference: str, path: str) -> str:
        """Returns the place that a reference names, as a JSON pointer.

        Raises:
            SchemaProblem: it names something outside of the schema, or nothing.
        """
        outside, _, fragment = reference.partition("#")
        if outside and outside != self._base.partition("#")[0]:
            raise SchemaProblem("$ref", path, "refers to another document; the schema may refer only to itself")
        fragment = unquote(fragment)
        if not fragment or fragment.startswith("/"):
            return fragment
        if self._anchors is None:
            self._anchors = dict(_anchors(self._root))
        if fragment not in self._anchors:
            raise SchemaProblem("$ref", path, "refers to an anchor that the schema does not have")
        return self._anchors[fragment]

    def at(self, pointer: str, path: str) -> Any:
        """Returns the part of the schema at a JSON pointer. path: where it is referred to.

        Raises:
            SchemaProblem: there is nothing.
        """
        node = self._root
        for step in pointer.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and step in node:
                node = node[step]
            elif (
                isinstance(node, list) and step.isascii() and step.isdigit() and len(step) < 6 and int(step) < len(node)
            ):
                node = node[int(step)]
            else:
                raise SchemaProblem("$ref", path, "refers to something that the schema does not define")
        return node


def _anchors(root: Any) -> list[tuple[str, str]]:
    """Returns the anchors of a schema and their places; the first of a name counts."""
    found: list[tuple[str, str]] = []
    waiting = [("", root)]
    while waiting:
        pointer, node = waiting.pop()
        if isinstance(node, list):
            waiting += [(f"{pointer}/{index}", inner) for index, inner in enumerate(node)]
        elif isinstance(node, dict):
            found += [(str(node[name]), pointer) for name in _ANCHORS if isinstance(node.get(name), str)]
            # Before `$anchor`, a fragment as `$id` was one.
            found += [(str(node[name])[1:], pointer) for name in _IDS if str(node.get(name, "")).startswith("#")]
            waiting += [(f"{pointer}/{_escaped(name)}", inner) for name, inner in node.items()]
    return found[::-1]


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
