"""A swap leaves KV of other versions in the cache. So every prompt for vLLM carries the version in its cache salt."""

import ast
from pathlib import Path

ENGINE = Path(__file__).parents[2] / "services/worker/engine/vllm"


def calls(name: str) -> list[tuple[str, ast.Call]]:
    """Calls of a function in the engine, with their files."""
    return [
        (file.name, node)
        for file in sorted(ENGINE.glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name
    ]


def test_every_prompt_has_the_salt_of_its_version() -> None:
    prompts = calls("tokens_input")
    assert {file for file, _ in prompts} == {"embed.py", "request.py"}
    for file, call in prompts:
        salts = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "cache_salt"]
        assert [salt.partition("(")[0].rpartition(".")[2] for salt in salts] == ["salt"], f"{file}:{call.lineno}"


def test_nothing_reaches_vllm_but_such_prompts() -> None:
    for file, call in calls("add_request"):
        owner = ast.unparse(call.func).rpartition(".")[0]
        if owner.endswith("llm"):
            assert "tokens_input" in ast.unparse(call.args[1]), f"{file}:{call.lineno}"
    assert not [
        file for name in ("encode", "generate") for file, call in calls(name) if "llm." in ast.unparse(call.func)
    ]
