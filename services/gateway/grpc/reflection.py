"""Server reflection, v1 and v1alpha: the same messages under two names. grpcio-reflection has only the older one."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1ALPHA = reflection.SERVICE_NAME
V1 = V1ALPHA.replace("v1alpha", "v1")


def add_reflection(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Lets clients ask a server for its services and messages.

    Args:
        server: not started yet.
        services: full names of its services, without those of reflection.
    """
    known = (*services, V1ALPHA)
    reflection.enable_server_reflection((*known, V1), server, pool := _pool(known))
    servicer = reflection.aio.ReflectionServicer((*known, V1), pool)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": method}),))


def _pool(services: Iterable[str]) -> DescriptorPool:
    """All files of these services and of reflection v1, in a pool of its own: other packages fill the process's."""
    pool = DescriptorPool()
    for name in services:
        _add(pool, Default().FindServiceByName(name).file)
    pool.AddSerializedFile(_v1().SerializeToString())
    return pool


def _add(pool: DescriptorPool, file: FileDescriptor) -> None:
    for dependency in file.dependencies:
        _add(pool, dependency)
    pool.AddSerializedFile(file.serialized_pb)


def _v1() -> FileDescriptorProto:
    """The file of v1, made from that of v1alpha, which differs from it in the package's name only."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.options.ClearField("deprecated")
    text: Any = text_format.MessageToString(file).replace("v1alpha", "v1")
    return text_format.Parse(text, FileDescriptorProto())
