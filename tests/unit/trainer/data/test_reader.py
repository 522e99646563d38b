"""Data files are converted or refused as docs/training.md says, and every sample is counted."""

import json
import re
from pathlib import Path

import pytest

from tests.unit.trainer.data.files import ANSWER, CASES, CHAT, HH, QUESTION, Case, Converted, Refused, lines
from trainer.data import content, inner
from trainer.data.content import Budget
from trainer.data.forms.fields import EMPTY_TURN
from trainer.data.forms.form import FORMS, Form
from trainer.data.forms.preference import OTHER_QUESTIONS, SAME
from trainer.data.reader import DataSet, Reader, load
from trainer.data.sample import Conversation, Message, PreferencePair, Sample, Text
from trainer.data.wrong import MAX_ERRORS, WrongData


def shown(sample: Sample) -> list[tuple[str, str]]:
    if isinstance(sample, Text):
        return [("text", sample.text)]
    turns: tuple[Message, ...] = (
        sample.messages if isinstance(sample, Conversation) else (*sample.prompt, *sample.chosen, *sample.rejected)
    )
    return [(turn.role + "*" * turn.learnt, turn.content) for turn in turns]


def loaded(tmp_path: Path, content: bytes, name: str = "data.jsonl", form: Form | None = None) -> DataSet:
    (tmp_path / name).write_bytes(content)
    return load(tmp_path / name, form)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_a_file_as_people_have_it_becomes_what_the_page_says(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path / case.file)
    if isinstance(case.outcome, Refused):
        with pytest.raises(WrongData) as error:
            load(tmp_path / case.file)
        assert str(error.value).startswith(f"{case.outcome.place}: ")
        assert case.outcome.sentence in str(error.value)
        return
    found = load(tmp_path / case.file)
    report = found.report
    assert case.outcome == Converted(
        shown(found.samples[0]), tuple(sorted(report.converted)), tuple(report.kept_out), tuple(report.dropped)
    )
    assert report.kept == len(found.samples) == 2


def test_the_page_has_a_row_for_each_of_these_files() -> None:
    rows = re.findall(r"^\| (.+?) \|", Path("docs/training.md").read_text(), re.M)
    assert {case.row for case in CASES} <= set(rows)


def test_a_conversation_keeps_tools_names_calls_and_thoughts(tmp_path: Path) -> None:
    case = next(case for case in CASES if "with tools" in case.row)
    case.write(tmp_path / "a.jsonl")
    found = load(tmp_path / "a.jsonl").samples[0]
    assert isinstance(found, Conversation)
    assert found.tools[0]["function"]["name"] == "tide"
    assert found.messages[1].document()["name"] == "Odile"
    assert found.messages[2].document() == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call-1", "type": "function", "function": {"name": "tide", "arguments": {"port": "Quillhaven"}}}
        ],
    }
    assert found.turns == (4,)


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case.outcome, Converted)], ids=lambda c: c.row)
def test_the_inner_form_read_again_is_the_same(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path / case.file)
    first = load(tmp_path / case.file).samples
    (tmp_path / "inner.jsonl").write_text("".join(inner.to_jsonl(first)))
    second = load(tmp_path / "inner.jsonl").samples
    assert [shown(sample) for sample in first] == [shown(sample) for sample in second]
    for name in ("tools", "good"):
        assert [getattr(sample, name, ()) for sample in first] == [getattr(sample, name, ()) for sample in second]


def chat(*turns: tuple[str, object], **fields: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **fields}


TOOL_RESULT = {"role": "tool", "tool_call_id": "x", "content": "b"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"messages": []}, "messages must hold a question and an answer, and holds 0 messages"),
        ({"messages": "a"}, "messages: not JSON"),
        ({"messages": [1]}, "messages.0 must be an object, and is a number"),
        ({"prompt": "a"}, "messages must be a list, and is null"),
        (chat(("user", "a"), ("robot", "b")), "messages.1.role must be one of system, developer, user"),
        (chat(("user", "a"), ("function", "b")), "function is the old form: write tool"),
        (chat(("user", 5), ("assistant", "b")), "messages.0.content must be text, and is a number"),
        (chat(("user", "a"), ("assistant", "b"), ("user", "c")), "the last message must be the assistant's"),
        (chat(("user", "a"), ("system", "b"), ("assistant", "c")), "a system message may only be the first"),
        (chat(("assistant", "a"), ("assistant", "b")), "the assistant cannot speak first"),
        (chat(("user", "a"), ("tool", "b"), ("assistant", "c")), "messages.1: a tool answers, but"),
        (chat(("user", "a"), ("assistant", "b"), functions=[{}]), "functions is the old form"),
        (chat(("user", "a"), ("assistant", "b"), tools=[{"type": "function"}]), "tools.0.function must be an object"),
        ({"messages": [QUESTION, {**ANSWER, "weight": 0.5}]}, "weight must be 0 (not learnt) or 1 (learnt)"),
        ({"messages": [QUESTION, {**ANSWER, "function_call": {}}]}, "function_call is the old form"),
    ],
)
def test_a_wrong_record_is_told_by_line_and_path(tmp_path: Path, wrong: object, told: str) -> None:
    with pytest.raises(WrongData, match=r"^data\.jsonl:3: ") as error:
        loaded(tmp_path, lines(CHAT) + b"\n" + lines(wrong, CHAT))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{'text': 1}", "not JSON: expecting property name enclosed in double quotes (column 2)"),
        (b'{"text": NaN}', "NaN is no number in JSON"),
        (b'["text"]', 'a sample is an object, {...}, and this is ["text"]'),
        (b'{"text": "\xff"}', "not UTF-8 (byte 11)"),
        (b"[" * 100_000, "lie too deep"),
        (b'{"n": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
)
def test_a_line_that_is_not_json_is_told(tmp_path: Path, line: bytes, told: str) -> None:
    with pytest.raises(WrongData) as error:
        loaded(tmp_path, lines({"text": "a"}) + line)
    assert str(error.value).startswith("data.jsonl:2: ")
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("array", "place", "told"),
    [
        (b'[{"text": "a"},\n{"text": }]', "data.jsonl:2", "not JSON: expecting value"),
        (b'[{"text": "a"}\n{"text": "b"}]', "data.jsonl:1", "neither a comma nor the ]"),
        (b'[{"text": "a"},\n{"text": "b"},\n', "data.jsonl:3", "the array has no end"),
        (b'[{"text": "a"}]\n[]', "data.jsonl:1", "behind the end of the array"),
        (b'[{"text": "a"},\n\n 3]', "data.jsonl:3", "a sample is an object"),
    ],
)
def test_an_item_of_an_array_is_told_by_its_line(tmp_path: Path, array: bytes, place: str, told: str) -> None:
    with pytest.raises(WrongData) as error:
        loaded(tmp_path, array)
    assert str(error.value).startswith(f"{place}: ")
    assert told in str(error.value)


def test_not_every_wrong_line_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongData) as error:
        loaded(tmp_path, lines({"text": "a"}) + b"{\n" * 1000)
    assert str(error.value).count("\n") == MAX_ERRORS - 1


def test_too_few_samples_are_told_with_what_was_dropped(tmp_path: Path) -> None:
    empty = {"messages": [QUESTION, {**ANSWER, "content": ""}]}
    with pytest.raises(WrongData, match=rf"holds 1 samples \({EMPTY_TURN}: 3\); 2 are needed"):
        loaded(tmp_path, lines(CHAT, empty, empty, empty))


def test_what_was_dropped_is_counted_with_its_first_place(tmp_path: Path) -> None:
    silent = {"messages": [QUESTION, {**ANSWER, "weight": 0}]}
    report = loaded(tmp_path, lines(CHAT, silent, CHAT, silent)).report
    reason = "no turn is learnt: each has weight 0"
    assert (report.dropped[reason], report.first_dropped[reason]) == (2, "data.jsonl:2")


def test_a_form_can_be_named(tmp_path: Path) -> None:
    content = lines({"text": "a", **CHAT}) * 2
    assert loaded(tmp_path, content).kind == "conversations"
    assert loaded(tmp_path, content, form="text").kind == "texts"
    for form in set(FORMS) - {"text", "messages"}:
        with pytest.raises(WrongData, match=r"^data\.jsonl:1: "):
            loaded(tmp_path, content, form=form)


def test_files_of_one_kind_may_have_different_forms_and_those_of_two_kinds_may_not(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(CHAT))
    (tmp_path / "b.jsonl").write_bytes(lines({"instruction": "a", "output": "b"}))
    assert load(tmp_path).report.document()["forms"] == {"messages": 1, "alpaca": 1}
    (tmp_path / "c.jsonl").write_bytes(lines({"text": "a"}))
    with pytest.raises(WrongData, match=r"^c\.jsonl:1: the files before hold conversations, and this one texts"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": [QUESTION], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "No."}]}, ("At noon.", "No.")),
        ({"chosen": "The sky is blue.", "rejected": "The sky is green."}, ("blue.", "green.")),
        (
            {"chosen": HH + "A.\n\nHuman: b\n\nAssistant: c", "rejected": HH + "A.\n\nHuman: b\n\nAssistant: d"},
            ("c", "d"),
        ),
        ({"chosen": "Blue.", "rejected": "Green."}, None),
        ({"chosen": [ANSWER], "rejected": [{**ANSWER, "content": "No."}]}, None),
        ({"prompt": "a", "chosen": "b", "rejected": [ANSWER]}, None),
    ],
)
def test_preference_pairs_of_every_form(tmp_path: Path, fields: object, said: tuple[str, str] | None) -> None:
    if said is None:
        with pytest.raises(WrongData, match=r"^data\.jsonl:1: "):
            loaded(tmp_path, lines(fields, fields))
        return
    pair = loaded(tmp_path, lines(fields, fields)).samples[0]
    assert isinstance(pair, PreferencePair)
    assert (pair.chosen[-1].content, pair.rejected[-1].content) == said
    assert not any(message.learnt for message in pair.prompt)


@pytest.mark.parametrize(
    ("label", "good"), [(True, True), (False, False), ("True", True), ("false", False), (None, None), (1, None)]
)
def test_a_judged_answer_says_whether_it_is_good(tmp_path: Path, label: object, good: bool | None) -> None:
    record = {"prompt": "When is high tide?", "completion": "At noon.", "label": label}
    if good is None:
        with pytest.raises(WrongData, match=r"^data\.jsonl:1: label must be true \(good\) or false \(bad\)"):
            loaded(tmp_path, lines(record, record))
        return
    found = loaded(tmp_path, lines(record, record))
    assert found.kind == "judged answers"
    assert [getattr(sample, "good", None) for sample in found.samples] == [good, good]


def test_sides_that_are_equal_or_answer_different_questions_are_dropped(tmp_path: Path) -> None:
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    other = {"chosen": HH + "A.\n\nHuman: b\n\nAssistant: c", "rejected": HH + "A.\n\nHuman: d\n\nAssistant: c"}
    report = loaded(tmp_path, lines(pair, {**pair, "rejected": "b"}, other, pair)).report
    assert report.dropped == {SAME: 1, OTHER_QUESTIONS: 1}


def test_sharegpt_with_tools_system_and_an_unknown_speaker(tmp_path: Path) -> None:
    call = {"from": "function_call", "value": '{"name": "tide", "arguments": {}}'}
    turns = [
        {"from": "human", "value": "q"},
        call,
        {"from": "observation", "value": "12"},
        {"from": "gpt", "value": "a"},
    ]
    record = {"conversations": turns, "system": "Be short.", "tools": '[{"name": "tide"}]'}
    found = loaded(tmp_path, lines(record, record)).samples[0]
    assert [role for role, _ in shown(found)] == ["system", "user", "assistant*", "tool", "assistant*"]
    with pytest.raises(WrongData, match=r"conversations\.0\.from must be one of human"):
        loaded(tmp_path, lines({"conversations": [{"from": "narrator", "value": "q"}]}))


def test_a_packed_file_that_becomes_huge_is_stopped(tmp_path: Path) -> None:
    import gzip

    file = tmp_path / "bomb.jsonl.gz"
    file.write_bytes(gzip.compress(lines({"text": "a" * 1000}) * 1000))
    assert file.stat().st_size < 10_000
    with (
        pytest.raises(WrongData, match=r"^bomb: the data has more than \d+ bytes when it is unpacked"),
        content.opened(file, "bomb", Budget(100_000)) as reader,
    ):
        list(content.lines(reader, "bomb"))


def test_a_line_without_an_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MAX_LINE_BYTES", 1000)
    with pytest.raises(WrongData, match=r"^data\.jsonl:2: the line has more than 1000 bytes"):
        loaded(tmp_path, lines({"text": "a"}, {"text": "a" * 1001}))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"prompt,completion\na,b\n", "holds 1 samples"),
        ("a.csv", b"prompt,completion\na,b\na,b,c\n", "a.csv:3: the row has 3 fields and the header 2"),
        ("a.csv", b'prompt,completion\na,"b\n', "a.csv:2: not CSV"),
        ("a.csv", b"", "a.csv:1: the first row must name the columns"),
        ("a.tsv", b"text\ttext\n", "a column name stands twice"),
        ("a.parquet", b"PAR0", "the file is not Parquet"),
        ("a.parquet.gz", b"", "unpack the file"),
        ("a.jsonl", b"", "holds 0 samples"),
        ("a.jsonl.zst", b"{}", "is not zstd"),
    ],
)
def test_containers_that_are_wrong_are_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    with pytest.raises(WrongData) as error:
        loaded(tmp_path, content, name)
    assert told in str(error.value)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongData, match="there is no such file or folder"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(WrongData, match="the folder holds no file that ends in"):
        load(tmp_path)


def test_a_long_cell_with_messages_is_read_from_csv(tmp_path: Path) -> None:
    cell = json.dumps([QUESTION, {**ANSWER, "content": "a" * 200_000}]).replace('"', '""')
    found = loaded(tmp_path, f'messages\n"{cell}"\n"{cell}"\n'.encode(), "a.csv").samples[1]
    assert len(shown(found)[1][1]) == 200_000


def test_records_are_read_one_after_another(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(CHAT) + b"{\n")
    reader = Reader(tmp_path / "a.jsonl")
    samples = reader.samples()
    assert next(samples).place == "a.jsonl:1"
    with pytest.raises(WrongData, match=r"^a\.jsonl:2: "):
        next(samples)
