"""Generated gRPC requests: the same for the same seed, and of every kind."""

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from tests.robustness.inputs.rpc_cases import SERVICE, RpcCase, rpc_cases
from tidegate.inference.v1 import inference_pb2 as pb


def test_a_seed_gives_the_same_cases() -> None:
    assert rpc_cases("tide", 200, 7) == rpc_cases("tide", 200, 7)
    assert rpc_cases("tide", 200, 7) != rpc_cases("tide", 200, 8)


def test_there_are_cases_of_every_kind() -> None:
    cases = rpc_cases("tide", 1000, 7)
    assert {case.method for case in cases} == set(SERVICE.methods_by_name)
    assert len(cases) == 1000
    read = [_read(case) for case in cases]
    assert None in read
    chats = [message for message in read if isinstance(message, pb.ChatRequest)]
    right = [chat for chat in chats if chat.model == "tide" and chat.messages]
    assert right
    for field in pb.ChatRequest.DESCRIPTOR.fields:
        assert any(field in {found for found, _ in chat.ListFields()} for chat in chats), field.name
    assert any(chat.structure.WhichOneof("form") == "choices" for chat in chats)


def _read(case: RpcCase) -> object:
    """The message; None for bytes that are none."""
    try:
        return GetMessageClass(SERVICE.methods_by_name[case.method].input_type).FromString(case.body)
    except DecodeError:
        return None
