"""Distilling: the questions of the data, with the answers of a served teacher in place of their own."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from services.shared.clock import Clock
from trainer.data.forms import messages as messages_form
from trainer.data.report import Notes
from trainer.data.sample import Conversation, Message, Sample, Text, kind_of
from trainer.data.wrong import Dropped, WrongData, WrongRecord
from trainer.distill_recipe import DistillRecipe
from trainer.errors import Unfit
from trainer.examples import Renderer
from trainer.parallel import each
from trainer.responses import Collected, Responses
from trainer.teacher import Endpoint, Question, Reply, Teacher
from trainer.watcher import Watcher

_TOLD = 10
"""Times that the watcher is told how many answers are there."""
_PROBE = Message("assistant", "...", learnt=True)
_KEPT = ("content", "tool_calls")
_REASONING = ("reasoning_content", "reasoning")
"""What servers call the thoughts before an answer."""
_WHOLE = ("stop", "tool_calls")
_LEFT_OUT = {
    "length": "they were cut off at teacher.max_tokens",
    "context_length_exceeded": "the question is longer than the teacher's context",
    "content_filter": "the endpoint filtered them",
}


class Distilling:
    """Asks the teacher of a recipe. What it answers is kept in `folder`."""

    def __init__(
        self,
        recipe: DistillRecipe,
        endpoint: Endpoint | None,
        folder: Path,
        watcher: Watcher,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._recipe, self._endpoint, self._folder, self._watcher = recipe, endpoint, folder, watcher
        self._clock, self._random = clock, random

    def check(self) -> None:
        """Raises Unfit: Nobody says where the teacher is, and not all answers are there."""
        if self._endpoint is None and not (self._folder / "responses.json").exists():
            raise Unfit(
                f"teacher.model = {self._recipe.teacher.model!r}: where is it served? Set TIDEGATE_TEACHER_URL, such as"
                " http://127.0.0.1:8080/v1, and TIDEGATE_TEACHER_API_KEY"
            )

    def samples(self, samples: Sequence[Sample], renderer: Renderer) -> tuple[list[Conversation], Collected]:
        """Each question with the teacher's answer, in the order of the data; those without a whole answer are left out.

        Args:
            samples: Conversations, of which the last answer that is learnt is asked for anew; texts are questions.
            renderer: By the base's chat template. It is tried on each question before the teacher is asked.

        Raises:
            WrongData: The samples are preference pairs, the template does not go with them, or no answer is whole.
            Unfit: Nobody says where the teacher is.
            TeacherAway, TeacherRefused: It did not answer.
            ChangedResponses: The answers that were collected before are not what they were.
        """
        asked = [_asked(sample) for sample in samples]
        for conversation in asked:
            renderer.answer(conversation, len(conversation.messages) - 1)
        questions = [_question(conversation) for conversation in asked]
        responses = Responses(self._folder, questions)
        if responses.missing:
            asyncio.run(self._ask(questions, responses))
        collected = responses.seal()
        return self._answered(asked, responses), collected

    # ---- asking ----

    async def _ask(self, questions: Sequence[Question], responses: Responses) -> None:
        self.check()
        if self._endpoint is None:
            raise AssertionError("the check has passed")
        told, total = -1, len(questions)

        def tell() -> None:
            nonlocal told
            done = len(responses.replies)
            if (part := done * _TOLD // total) > told:
                told = part
                self._watcher.phase(f"asking {self._recipe.teacher.model}: {done} of {total} answers")

        tell()
        parameters = _parameters(self._recipe)
        teacher = Teacher(self._endpoint, parameters, clock=self._clock, random=self._random)

        async def ask(number: str) -> None:
            question = questions[int(number)]
            reply = await teacher.answer(question, f"{question.sha256}-{self._recipe.seed}-{number}")
            responses.add(int(number), reply)
            tell()

        async with teacher:
            await each(map(str, responses.missing), ask, self._endpoint.at_once)

    # ---- what came back ----

    def _answered(self, asked: Sequence[Conversation], responses: Responses) -> list[Conversation]:
        kept: list[Conversation] = []
        left_out: Counter[str] = Counter()
        for number, conversation in enumerate(asked):
            try:
                kept.append(_with(conversation, responses.replies[number]))
            except Dropped as error:
                left_out[str(error)] += 1
        for reason, count in sorted(left_out.items()):
            self._watcher.note(f"{count} of {len(asked)} answers of the teacher are left out: {reason}")
        if len(kept) < 2:
            raise WrongData(
                f"of {len(asked)} answers of the teacher {len(kept)} can be learnt, and a run needs one to learn and"
                " one to measure with"
            )
        return kept


def _asked(sample: Sample) -> Conversation:
    """The question, with a place for its answer. Raises WrongData."""
    if isinstance(sample, Text):
        return Conversation(sample.place, (Message("user", sample.text), _PROBE))
    if not isinstance(sample, Conversation) or sample.good is not None:
        raise WrongData(
            f"{sample.place}: method distill asks what conversations or texts ask, and the data holds {kind_of(sample)}"
        )
    before = (replace(message, learnt=False) for message in sample.messages[: sample.turns[-1]])
    return Conversation(sample.place, (*before, _PROBE), sample.tools)


def _question(conversation: Conversation) -> Question:
    return Question([_wire(message) for message in conversation.messages[:-1]], conversation.tools)


def _wire(message: Message) -> Mapping[str, Any]:
    """A message as the API takes it: arguments of calls are a text there, and thoughts are not sent back."""
    document = {key: value for key, value in message.document().items() if key != "reasoning_content"}
    if message.tool_calls:
        document["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
            for call in message.tool_calls
        ]
    return document


def _parameters(recipe: DistillRecipe) -> Mapping[str, Any]:
    """Of every request."""
    teacher = recipe.teacher
    return {
        "model": teacher.model,
        "max_tokens": teacher.max_tokens,
        "temperature": teacher.temperature,
        "top_p": teacher.top_p,
        **({"seed": recipe.seed} if teacher.temperature else {}),
        **({"service_tier": teacher.service_tier} if teacher.service_tier else {}),
    }


def _with(asked: Conversation, reply: Reply) -> Conversation:
    """The conversation with the teacher's answer. Raises Dropped for an answer that is not to be learnt."""
    if reply.finish_reason not in _WHOLE:
        raise Dropped(_LEFT_OUT.get(reply.finish_reason, f"they ended by {reply.finish_reason}"))
    given = {key: reply.message[key] for key in _KEPT if reply.message.get(key)}
    thoughts = next((reply.message[key] for key in _REASONING if reply.message.get(key)), None)
    answer = {"role": "assistant", **given, **({"reasoning_content": thoughts} if thoughts else {})}
    try:
        made = messages_form.convert(asked.place, {"messages": [{"role": "user", "content": "?"}, answer]}, Notes())
    except WrongRecord as error:
        raise Dropped(f"they cannot be read ({error})") from None
    return replace(asked, messages=(*asked.messages[:-1], made.messages[-1]))
