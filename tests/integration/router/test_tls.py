"""Internal gRPC with mutual TLS: a client without a certificate of the cluster's authority is refused."""

import asyncio
import os
import sys
from pathlib import Path

import grpc
import pytest

from services.router.app import RouterApp
from services.router.settings import RouterSettings
from services.shared.certificates import Tls
from services.shared.rpc import channel
from tests.support.tls import Authority
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub


async def pools(address: str, tls: Tls | None) -> pb.ListPoolsResponse:
    async with channel(address, tls) as connection:
        return await ControlServiceStub(connection).ListPools(pb.ListPoolsRequest(), timeout=20)


async def listed(address: str, tls: Tls | None) -> tuple[int, str]:
    """What the command line says of the workers: exit status and text."""
    keys = ("certificate", "key", "authority") if tls else ()
    variables = {f"TIDEGATE_TLS_{name.upper()}": str(getattr(tls, name)) for name in keys}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli", "workers", "list", "--router", address),
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_only_peers_of_the_same_authority_are_served(settings: RouterSettings, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("router")
    files = {"tls_certificate": own.certificate, "tls_key": own.key, "tls_authority": own.authority}
    router = RouterApp(settings.model_copy(update=files))
    await router.start()
    try:
        answer = await pools(router.address, authority.issue("gateway"))
        assert [pool.pool.name for pool in answer.pools] == ["tide"]
        operator = authority.issue("operator")
        assert (await listed(router.address, operator))[0] == 0
        status, said = await listed(router.address, authority.issue("operator", hours=-1))
        assert (status, "operator.pem: the certificate expired at" in said) == (2, True)
        stranger = Authority(tmp_path, "elsewhere").issue("stranger")
        for keys in (None, stranger, stranger.model_copy(update={"authority": own.authority})):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await pools(router.address, keys)
            assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    finally:
        await router.stop()
