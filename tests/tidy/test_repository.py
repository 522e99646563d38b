"""Rules that hold for every file of the repository."""

import importlib
import re
import subprocess
from pathlib import Path

import pytest

FORBIDDEN = {
    r"^\s*(import|from) pickle\b": "pickle runs what it reads",
    r"torch\.load\(": "torch.load unpickles; use safetensors",
    r"trust_remote_code\s*=\s*True": "no code from checkpoints",
    r"^\s*(import|from) requests\b": "httpx is the HTTP client here",
}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.split()]


@pytest.mark.parametrize("pattern", FORBIDDEN, ids=FORBIDDEN.values())
def test_code_does_without_what_is_forbidden(pattern: str) -> None:
    code = [path for path in tracked("*.py") if "proto/gen" not in str(path) and path != Path(__file__).absolute()]
    hits = [
        str(path) for path in code if path.parts[0] != "tests" and re.search(pattern, path.read_text(), re.MULTILINE)
    ]
    assert not hits


def test_no_file_names_a_machine() -> None:
    own = "|".join(re.escape(f"{folder}/") for folder in (Path.cwd(), Path.home()) if len(folder.parts) > 1)
    private = re.compile(rf"/home/\w+/|{own}")
    text = tracked("*.py", "*.md", "*.sh", "*.yaml", "*.toml", "*.lock", "*.lua", "*.proto", "Makefile")
    hits = [str(path) for path in text if path.name != "test_repository.py" and private.search(path.read_text())]
    assert not hits


def test_the_core_of_each_service_knows_no_wire() -> None:
    """Pure files, by name: what they import can be run without a server, a socket or an engine."""
    wires = re.compile(r"^\s*(import|from) (grpc|redis|fastapi|starlette|uvicorn|vllm|torch)\b", re.MULTILINE)
    pure = [
        *Path("services/router/core").glob("*.py"),
        *(Path(f"services/router/{name}.py") for name in ("redis/scripts", "redis/lua_loader", "queue/frames")),
        *Path("services/gateway/openai").glob("*.py"),
        *Path("services/worker/engine/simulated").glob("*.py"),
        Path("services/worker/engine/contract.py"),
        Path("services/shared/errors.py"),
        Path("services/shared/manifests.py"),
        *(Path(f"services/shared/{name}.py") for name in ("config", "engine_settings", "class_policy", "prices")),
    ]
    assert not [str(path) for path in pure if wires.search(path.read_text())]


def test_every_verb_of_the_readme_is_in_the_makefile() -> None:
    makefile = Path("Makefile").read_text()
    for verb in re.findall(r"\bmake ([a-z-]+)", Path("README.md").read_text()):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), f"README names make {verb}"


def test_the_page_of_settings_is_current_and_describes_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("scripts")
    configuration = importlib.import_module("configuration")
    assert configuration.PAGE.read_text() == configuration.page(), "run python scripts/configuration.py"
    fields = [(model, name, field) for model in configuration.models() for name, field in model.model_fields.items()]
    assert not [
        f"{model.__name__}.{name}" for model, name, field in fields if not (field.description or "").endswith(".")
    ]


def test_the_list_of_modules_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("scripts")
    modules = importlib.import_module("modules")
    assert modules.PAGE.read_text() == modules.page(), "run python scripts/modules.py"
    undescribed = [
        path
        for room in modules.ROOMS
        for path in Path(room).rglob("*.py")
        if path.read_text() and not modules.first_line(path)
    ]
    assert not undescribed


def test_the_list_of_architectures_is_that_of_the_pinned_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("scripts")
    architectures = importlib.import_module("architectures")
    assert architectures.TARGET.read_text() == architectures.text(), "run python scripts/architectures.py"
