"""Regular expressions of schemas as the grammar compiler reads them.

JSON Schema looks for a match anywhere in a text, and the compiler matches the whole text. The compiler keeps quotes,
backslashes and control characters out of its character classes, but not where they stand alone: there they would end
the string that the expression describes.
"""

import re

from services.gateway.openai.schemas.problem import SchemaProblem

MAX_CHARACTERS = 4096
_CLASS = re.compile(r"(?<!\\)\[\^?\]?(?:\\.|[^\]\\])*+\]")
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_BEYOND = re.compile(r"\(\?(?!:)|\\[1-9kpPbBxuc0]|\\[nrtvf\\\"]|[\"\x00-\x1f]")


def whole_match(pattern: str, path: str) -> str:
    """Returns an expression that matches whole texts in which `pattern` matches; it may match fewer.

    Raises:
        SchemaProblem: no grammar can hold a text to it.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise SchemaProblem("pattern", path, f"is longer than {MAX_CHARACTERS} characters")
    bare = _CLASS.sub("", pattern.replace(r"\\", "\x00"))
    if _BEYOND.search(bare):
        reason = "looks around, refers back, or asks for quotes, backslashes or control characters"
        raise SchemaProblem("pattern", path, reason)
    plain = _ESCAPE.sub("", bare)
    alternatives = _alternatives(plain)
    if any(re.search(r"[$^]", one.removeprefix("^").removesuffix("$")) for one in alternatives):
        raise SchemaProblem("pattern", path, "has '^' or '$' in its middle")
    # With alternatives at the top level, nothing may stand around the match.
    return pattern if len(alternatives) > 1 else _anchored(pattern, plain)


def _anchored(pattern: str, plain: str) -> str:
    """Adds what may stand around the match."""
    start = "" if plain.startswith("^") else ".*"
    end = "" if plain.endswith("$") else ".*$"
    return f"^{start}{pattern.removeprefix('^')}{end}"


def _alternatives(plain: str) -> list[str]:
    """Returns the alternatives at the top level of an expression without classes and escapes."""
    depth, found = 0, [""]
    for character in plain:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return found
