"""gRPC requests made from the messages' descriptors: changed in a few fields, made up altogether, and damaged bytes."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.robustness.inputs.examples import draw
from tidegate.inference.v1 import inference_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["InferenceService"]
TEXTS = ("", "tide", "auto", "priority", "user", "assistant", "tool", "required", "{", '{"type": "object"}', "[a-c]{2}")
NUMBERS = (0, 1, 2, 16, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1)
MAX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class RpcCase:
    method: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.body!r}"


def rpc_cases(model: str, count: int, seed: int) -> list[RpcCase]:
    """model: one that the cluster serves."""
    methods = sorted(SERVICE.methods, key=lambda method: method.name in ("Chat", "Complete"))
    cases: list[RpcCase] = []
    for position, method in enumerate(methods):
        left = count - len(cases)
        wanted = left // (len(methods) - position) if method.name in ("Chat", "Complete") else count // 20
        made = _bodies(method.input_type, _valid(method.name, model))
        cases += [RpcCase(method.name, body) for body in draw(made, wanted, seed)]
    return cases


def _valid(method: str, model: str) -> dict[str, Any]:
    """The least that each method takes."""
    messages = [pb.Message(role="user", content="Where does the tide go?")]
    fields: dict[str, dict[str, Any]] = {
        "Chat": {"model": model, "messages": messages},
        "Complete": {"model": model, "prompt": "The tide"},
        "Tokenize": {"model": model, "prompt": "The tide"},
        "Detokenize": {"model": model, "token_ids": [1, 2]},
        "Embed": {"model": model, "inputs": ["The tide"]},
        "ListModels": {},
    }
    return fields[method]


def _bodies(kind: Descriptor, valid: dict[str, Any]) -> st.SearchStrategy[bytes]:
    made_up = _messages(kind, MAX_DEPTH)
    nearly = made_up.map(lambda message: _beside(message, type(message)(**valid)))
    whole = st.one_of(nearly, nearly, made_up).map(lambda message: message.SerializeToString())
    return st.one_of(whole, whole, whole, whole, _cut(whole), st.binary(max_size=200))


def _cut(bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes of a message that end too soon, and others after them."""
    return st.tuples(bodies, st.integers(0, 60), st.binary(max_size=4)).map(lambda it: it[0][: it[1]] + it[2])


def _beside(made_up: Message, valid: Message) -> Message:
    """What is valid, and of the made-up message what lies beside it."""
    for name in [field.name for field, _ in valid.ListFields()]:
        made_up.ClearField(name)
    made_up.MergeFrom(valid)
    return made_up


def _messages(kind: Descriptor, depth: int) -> st.SearchStrategy[Message]:
    of_fields = {field: _field(field, depth) for field in kind.fields if depth or field.message_type is None}
    chosen = st.lists(st.sampled_from(list(of_fields)), max_size=4, unique=True) if of_fields else st.just([])
    values = chosen.flatmap(lambda fields: st.fixed_dictionaries({field.name: of_fields[field] for field in fields}))
    return values.map(lambda fields: GetMessageClass(kind)(**_one_of_each(kind, fields)))


def _one_of_each(kind: Descriptor, fields: dict[str, Any]) -> dict[str, Any]:
    """Of a oneof, the last one stays."""
    last = {field.name for field in kind.fields if field.containing_oneof is None}
    last |= {next((f.name for f in one.fields if f.name in fields), "") for one in kind.oneofs}
    return {name: value for name, value in fields.items() if name in last}


def _field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return st.dictionaries(_scalar(key), _field(value, depth - 1), max_size=4)
    one = _messages(field.message_type, depth - 1) if field.message_type else _scalar(field)
    return st.lists(one, max_size=4) if field.is_repeated else one


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_STRING:
            return st.one_of(st.sampled_from(TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return st.one_of(st.floats(-2, 2), st.floats())
        case FieldDescriptor.CPPTYPE_UINT32:
            return st.one_of(st.sampled_from([n for n in NUMBERS if n < 2**32]), st.integers(0, 40))
        case FieldDescriptor.CPPTYPE_INT64:
            return st.one_of(st.sampled_from(NUMBERS), st.integers(-(2**63), 2**63 - 1))
    raise AssertionError(f"{field.full_name} has a type that no case is made of yet")
