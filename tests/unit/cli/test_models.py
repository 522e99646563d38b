from services.cli.views.models import change_table, whole_document, whole_version
from services.shared.version_changes import Change
from tests.unit.cli.terminal import shown
from tests.unit.worker.models import manifest_of

MADE = manifest_of({"config.json": b"{}", "model.safetensors": b"w" * 2000}, model="tiny")


def test_a_version_is_shown_with_its_facts_and_its_files() -> None:
    lines = shown(whole_version(MADE, ["candidate", "latest"]))
    assert lines[0].strip() == f"tiny@{MADE.version}"
    facts = dict(line.strip().split("  ", 1) for line in lines[2 : lines.index("files") - 1])
    assert facts["aliases"].strip() == "candidate, latest"
    assert facts["size"].strip() == "2.0 kB"
    assert "parent" not in facts, "what is not known is left out"
    assert any(line.startswith("model.safetensors") for line in lines)


def test_the_document_has_sizes_in_bytes() -> None:
    document = whole_document(MADE, [])
    assert (document["size"], document["files"][0]["size"]) == (2002, 2)


def test_what_is_not_there_is_a_dash() -> None:
    lines = shown(change_table([Change("config.json: rope_theta", None, 1e5)]))
    assert lines[1].split() == ["config.json:", "rope_theta", "-", "100000.0"]
