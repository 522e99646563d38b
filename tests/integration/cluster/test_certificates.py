"""Mutual TLS by name: certificates are renewed under load, and wrong ones are told."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from services.shared.certificates import Tls
from services.shared.settings import WrongSettings
from tests.integration.cluster.whole import WholeCluster, client_of, metrics_of
from tests.support.tls import Authority
from tests.support.wait import wait_until

CONFIG = "pools: [{name: tide, model: tide, engine: {kind: simulated, max_running: 8, step_ms: 2}}]"
NAME = "tidegate.internal"
PROCESSES = ("router-1", "router-2", "gateway", "worker-1", "worker-2")
CLIENTS = 6
TOKENS = 60


async def ask(openai: Any) -> str:
    stream = await openai.chat.completions.create(
        model="tide",
        messages=[{"role": "user", "content": "tide"}],
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


async def keep_asking(openai: Any, done: asyncio.Event) -> list[str]:
    answers = [await ask(openai)]
    while not done.is_set():
        answers.append(await ask(openai))
    return answers


def trust(files: Tls, *authorities: Authority) -> None:
    """The process trusts these authorities from now on."""
    files.authority.write_bytes(b"".join(authority.file.read_bytes() for authority in authorities))


def issue(authority: Authority, folder: Path) -> dict[str, Tls]:
    """Keys for every process, each with a file of authorities of its own."""
    issued = {}
    for name in PROCESSES:
        own = folder / f"{name}.authorities"
        files = authority.issue(name, dns=NAME)
        issued[name] = files.model_copy(update={"authority": own})
        trust(issued[name], authority)
    return issued


async def test_certificates_and_their_authority_are_replaced_under_load(cluster: WholeCluster) -> None:
    """Every connection is made anew with the new certificates, while the old ones could not connect any more."""
    await cluster.write_config(CONFIG)
    old, new = Authority(cluster.folder, "old"), Authority(cluster.folder, "new")
    cluster.keys, cluster.tls_name = issue(old, cluster.folder), NAME
    first, second = await cluster.router("router-1"), await cluster.router("router-2")
    routers = (first.address, second.address)
    gateway = await cluster.gateway(*routers)
    for number in (1, 2):
        await cluster.start_worker(f"worker-{number}", *routers)
    await wait_until(
        lambda: all(w.ready() is None for w in cluster.workers.values()), description="workers", timeout=60
    )

    done = asyncio.Event()
    async with client_of(gateway) as openai:
        clients = [asyncio.create_task(keep_asking(openai, done)) for _ in range(CLIENTS)]
        # As an operator does it: all trust both, then all show certificates of the new one, then nobody trusts the old.
        for files in cluster.keys.values():
            trust(files, old, new)
        for name in PROCESSES:
            new.issue(name, dns=NAME)
        for files in cluster.keys.values():
            trust(files, new)
        ends = "tidegate_certificate_ends_seconds"
        assert (await metrics_of(second))[ends] > (await metrics_of(first))["tidegate_certificate_begins_seconds"]
        # A router that stops is left by all, and the other one is connected to with the new certificates.
        await first.stop()
        await wait_until(lambda: gateway.ready() is None, description="the gateway is at the other router", timeout=60)
        await cluster.stop_worker("worker-1")
        third = await cluster.start_worker("worker-1", routers[1])
        await wait_until(lambda: third.ready() is None, description="a worker that starts is taken", timeout=60)
        await cluster.stop_worker("worker-2")
        answered = len(await asyncio.gather(*(ask(openai) for _ in range(CLIENTS))))
        done.set()
        answers = [answer for client in clients for answer in await client]
    assert answered == CLIENTS
    assert len(answers) >= CLIENTS
    assert len(set(answers)) == 1


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda files, folder: Authority(folder, "authority").issue("router", dns=NAME, hours=-1), "expired at"),
        (lambda files, folder: Authority(folder, "other").issue("router", dns=NAME), "no authority in .* signed"),
        (lambda files, folder: files.key.unlink(), "router.key: No such file"),
        (lambda files, folder: files.key.write_text("no key"), "no private key in PEM"),
        (lambda files, folder: files.certificate.write_text("none"), "no certificate in it"),
        (
            lambda files, folder: shutil.copy(Authority(folder, "x").issue("y").key, files.key),
            "not the private key of",
        ),
    ],
)
async def test_a_certificate_that_others_would_refuse_stops_the_start(
    cluster: WholeCluster, spoil: Any, told: str
) -> None:
    await cluster.write_config(CONFIG)
    cluster.keys = {"router": Authority(cluster.folder).issue("router", dns=NAME)}
    spoil(cluster.keys["router"], cluster.folder)
    with pytest.raises(WrongSettings, match=f"TIDEGATE_TLS_CERTIFICATE.*{told}"):
        await cluster.router()


async def test_another_name_and_an_expired_certificate_are_refused_and_the_log_says_why(
    cluster: WholeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.write_config(CONFIG)
    authority = Authority(cluster.folder)
    cluster.keys = {"router": authority.issue("router", dns="elsewhere.internal"), "worker": authority.issue("worker")}
    cluster.tls_name = NAME
    router = await cluster.router()
    await cluster.start_worker("worker", router.address)
    for why in ("Hostname Verification Check failed", "certificate has expired"):
        await wait_until(lambda why=why: why in caplog.text, description="the log says why", timeout=30)  # type: ignore[misc]
        authority.issue("router", dns=NAME, hours=-1)
    assert "router.pem: the certificate expired at" in caplog.text
    authority.issue("router", dns=NAME)
    worker = cluster.workers["worker"]
    await wait_until(lambda: worker.ready() is None, description="the worker is ready", timeout=60)
