"""gRPC requests made from the messages' descriptors: changed in a few fields, made up altogether, and damaged bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tidegate.inference.v1 import inference_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["InferenceService"]
TEXTS = ("", "tide", "auto", "priority", "user", "assistant", "tool", "required", "{", '{"type": "object"}', "[a-c]{2}")
NUMBERS = (0, 1, 2, 16, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1)
FRACTIONS = (0.0, -0.0, 1.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
RANGES = ((0x20, 0x7E), (0, 0x1F), (0x80, 0xD7FF), (0xE000, 0xFFFF), (0x1_0000, 0x10_FFFF))
"""Code points, without the halves of characters, which no message can hold."""
MAX_DEPTH = 4
MOST = 4
"""Most fields, repeated values and entries of maps."""
MAX_CHARACTERS = 40
MAX_BYTES = 200
MAX_LOST = 60
GENERATING = ("Chat", "Complete")


@dataclass(frozen=True, slots=True)
class RpcCase:
    method: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.body!r}"


def rpc_cases(model: str, count: int, seed: int) -> list[RpcCase]:
    """model: one that the cluster serves."""
    random = Random(seed)
    methods = sorted(SERVICE.methods, key=lambda method: method.name in GENERATING)
    cases: list[RpcCase] = []
    for position, method in enumerate(methods):
        left = count - len(cases)
        wanted = left // (len(methods) - position) if method.name in GENERATING else count // 20
        valid = _valid(method.name, model)
        cases += [RpcCase(method.name, _body(method.input_type, valid, random)) for _ in range(wanted)]
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


def _body(kind: Descriptor, valid: dict[str, Any], random: Random) -> bytes:
    """A message in two thirds of the cases; else bytes of one that ends too soon, with others after them, or any."""
    form = random.randrange(6)
    if form == 0:
        return random.randbytes(random.randint(0, MAX_BYTES))
    made_up = _message(kind, MAX_DEPTH, random)
    if random.randrange(3):
        made_up = _beside(made_up, type(made_up)(**valid))
    body = made_up.SerializeToString(deterministic=True)
    if form == 1:
        return body[: random.randint(0, MAX_LOST)] + random.randbytes(random.randint(0, MOST))
    return body


def _beside(made_up: Message, valid: Message) -> Message:
    """What is valid, and of the made-up message what lies beside it."""
    for name in [field.name for field, _ in valid.ListFields()]:
        made_up.ClearField(name)
    made_up.MergeFrom(valid)
    return made_up


def _message(kind: Descriptor, depth: int, random: Random) -> Message:
    """A message with a few of its fields. Of a oneof, the field that is set last stays."""
    open_fields = [field for field in kind.fields if depth or field.message_type is None]
    chosen = random.sample(open_fields, random.randint(0, min(MOST, len(open_fields))))
    # One by one, for no message is made of two fields of a oneof.
    message = GetMessageClass(kind)()
    for field in chosen:
        message.MergeFrom(type(message)(**{field.name: _value(field, depth, random)}))
    return message


def _value(field: FieldDescriptor, depth: int, random: Random) -> Any:
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        pairs = _several(lambda: (_scalar(key, random), _value(value, depth - 1, random)), random)
        return dict(pairs)
    if field.is_repeated:
        return _several(lambda: _one(field, depth, random), random)
    return _one(field, depth, random)


def _several(make: Callable[[], Any], random: Random) -> list[Any]:
    return [make() for _ in range(random.randint(0, MOST))]


def _one(field: FieldDescriptor, depth: int, random: Random) -> Any:
    return _message(field.message_type, depth - 1, random) if field.message_type else _scalar(field, random)


def _scalar(field: FieldDescriptor, random: Random) -> Any:
    likely = random.random() < 0.5
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return likely
        case FieldDescriptor.CPPTYPE_STRING:
            return random.choice(TEXTS) if likely else _text(random)
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return random.uniform(-2, 2) if likely else random.choice(FRACTIONS)
        case FieldDescriptor.CPPTYPE_UINT32:
            return random.choice([n for n in NUMBERS if n < 2**32]) if likely else random.randint(0, 40)
        case FieldDescriptor.CPPTYPE_INT64:
            return random.choice(NUMBERS) if likely else random.randint(-(2**63), 2**63 - 1)
    raise AssertionError(f"{field.full_name} has a type that no case is made of yet")


def _text(random: Random) -> str:
    return "".join(chr(random.randint(*random.choice(RANGES))) for _ in range(random.randint(0, MAX_CHARACTERS)))
