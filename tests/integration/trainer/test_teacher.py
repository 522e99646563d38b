"""A served teacher is asked, and what it answers is kept: over real HTTP, without a model."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.integration.trainer.served_teacher import ServedTeacher, Told, answered, failed, served_teacher
from trainer.responses import ChangedResponses, Responses
from trainer.teacher import LONGEST_WAIT_S, TRIES, Question, Reply, Teacher, TeacherAway, TeacherRefused

QUESTION = Question([{"role": "user", "content": "what is the tide ?"}])
OTHER = Question([{"role": "user", "content": "what is the moon ?"}])


class Sleepless:
    """A clock on which every wait is over at once."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def wall(self) -> float:
        return 1_000_000_000.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def ask(served: ServedTeacher, question: Question = QUESTION) -> tuple[Reply, list[float]]:
    clock = Sleepless()

    async def run() -> Reply:
        async with Teacher(served.endpoint(), {"model": "big"}, clock=clock, random=Random(1)) as teacher:
            return await teacher.answer(question, "question-1")

    return asyncio.run(run()), clock.slept


def in_turn(*told: Told | None) -> Callable[[Any], Told | None]:
    """These responses, one after the other."""
    left = list(told)
    return lambda _: left.pop(0)


def test_what_passes_is_asked_again_under_the_same_key_and_the_endpoint_says_how_long_to_wait() -> None:
    with served_teacher(
        in_turn(
            failed(429, Retry_After="7"),
            failed(503, Retry_After="Sun, 09 Sep 2001 01:47:50 GMT"),
            failed(500, Retry_After="9999"),
            None,
            answered("the moon ."),
        )
    ) as served:
        reply, slept = ask(served)
    assert (reply.message["content"], reply.finish_reason) == ("the moon .", "stop")
    assert slept[:3] == [7.0, 1_000_000_070.0 - 1_000_000_000.0 - 10.0, LONGEST_WAIT_S]
    assert 0 < slept[3] <= 30, "a broken connection asks for no wait"
    assert set(served.keys) == {"question-1"}
    assert served.asked == [{"model": "big", "messages": QUESTION.messages}] * 5


def test_a_teacher_that_does_not_come_back_is_given_up() -> None:
    with served_teacher(lambda _: failed(503)) as served:
        with pytest.raises(TeacherAway, match=f"did not answer, {TRIES} times in a row: 503: no: 503"):
            ask(served)
        assert len(served.asked) == TRIES


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (failed(401), "refuses: 401: no: 401"),
        (failed(404, "model_not_found"), "refuses: 404"),
        (failed(400), "refuses: 400"),
        ((200, {}, {"choices": []}), "no chat completion"),
        ((200, {}, {"choices": [{"message": "?", "finish_reason": "stop"}]}), "no chat completion"),
    ],
)
def test_what_does_not_pass_is_asked_once(told: Told, words: str) -> None:
    with served_teacher(lambda _: told) as served:
        with pytest.raises(TeacherRefused, match=words):
            ask(served)
        assert len(served.asked) == 1


def test_a_question_that_is_too_long_for_the_teacher_does_not_end_the_run() -> None:
    with served_teacher(lambda _: failed(400, "context_length_exceeded")) as served:
        assert ask(served)[0] == Reply({}, "context_length_exceeded")


def test_answers_are_kept_a_line_each_and_a_line_that_a_kill_cut_short_is_asked_again(tmp_path: Path) -> None:
    questions = [QUESTION, OTHER, QUESTION]
    kept = Responses(tmp_path, questions)
    assert kept.missing == [0, 1, 2]
    kept.add(2, Reply({"content": "two"}, "stop"))
    kept.add(0, Reply({"content": "zero"}, "length"))
    file = tmp_path / "responses.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    torn = Responses(tmp_path, questions)
    assert (torn.missing, torn.is_sealed) == ([0, 1], False)
    torn.add(0, Reply({"content": "zero"}, "length"))
    assert file.read_bytes() == whole
    torn.add(1, Reply({"content": "one"}, "stop"))
    collected = torn.seal()
    assert collected.count == 3
    assert [json.loads(line)["number"] for line in file.read_text().splitlines()] == [0, 1, 2]
    again = Responses(tmp_path, questions)
    assert (again.missing, again.is_sealed, again.seal()) == ([], True, collected)
    assert again.replies == torn.replies


def test_answers_that_were_changed_or_belong_to_other_questions_are_refused(tmp_path: Path) -> None:
    kept = Responses(tmp_path, [QUESTION])
    kept.add(0, Reply({"content": "one"}, "stop"))
    with pytest.raises(ChangedResponses, match="another question than number 0"):
        Responses(tmp_path, [OTHER])
    kept.seal()
    file = tmp_path / "responses.jsonl"
    line = json.loads(file.read_text())
    file.write_text(json.dumps({**line, "message": {"content": "two"}}) + "\n")
    with pytest.raises(ChangedResponses, match="was changed after all answers were there"):
        Responses(tmp_path, [QUESTION])
    (tmp_path / "responses.json").unlink()
    file.write_text("{}\n")
    with pytest.raises(ChangedResponses, match="no answer"):
        Responses(tmp_path, [QUESTION])
