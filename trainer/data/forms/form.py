"""The forms by name, and which of them a record has."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from trainer.data.forms import alpaca, completion, judged, messages, preference, sharegpt, text
from trainer.data.report import Notes
from trainer.data.sample import Sample
from trainer.data.wrong import WrongRecord

Form = Literal["messages", "sharegpt", "alpaca", "completion", "judged", "preference", "text"]
FORMS: tuple[Form, ...] = get_args(Form)

Convert = Callable[[str, Mapping[str, Any], Notes], Sample]

_CONVERTERS: dict[Form, Convert] = {
    "messages": messages.convert,
    "sharegpt": sharegpt.convert,
    "alpaca": alpaca.convert,
    "completion": completion.convert,
    "judged": judged.convert,
    "preference": preference.convert,
    "text": text.convert,
}
# In this order: a pair has a prompt too, a judged answer is a completion too, and a text may stand beside messages.
_MARKS: tuple[tuple[Form, frozenset[str]], ...] = (
    ("preference", frozenset({"chosen", "rejected"})),
    ("messages", frozenset({"messages"})),
    ("sharegpt", frozenset({"conversations"})),
    ("judged", frozenset({"prompt", "completion", "label"})),
    ("completion", frozenset({"prompt", "completion"})),
    ("alpaca", frozenset({"instruction", "output"})),
    ("text", frozenset({"text"})),
)
KNOWN_FIELDS = frozenset(
    messages.FIELDS
    | sharegpt.FIELDS
    | alpaca.FIELDS
    | completion.FIELDS
    | judged.FIELDS
    | preference.FIELDS
    | text.FIELDS
)
"""Fields that some form reads."""
MAX_SHOWN = 12


def form_of(fields: Mapping[str, Any]) -> Form:
    """The form by the names of the fields. Raises WrongRecord: No form has such fields."""
    for form, marks in _MARKS:
        if marks <= fields.keys():
            return form
    names = ", ".join(sorted(fields)[:MAX_SHOWN]) or "none"
    forms = "; ".join(f"{form}: {' and '.join(sorted(marks))}" for form, marks in _MARKS)
    raise WrongRecord(f"no form has these fields ({names}). Rename them to those of a form: {forms}")


def converter(form: Form) -> Convert:
    """What reads records of a form. It raises WrongRecord and Dropped."""
    return _CONVERTERS[form]
