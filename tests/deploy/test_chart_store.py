"""The chart's object store: SeaweedFS or MinIO, with an account for each process."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.chart import EXAMPLES, pods, render, secrets_plan, values

ACCOUNTS = {"gateway": "gateway", "worker": "worker", "trainer": "trainer", "import": "trainer"}
KINDS = ("seaweedfs", "minio")


def rendered_with(kind: str, **store: Any) -> tuple[dict[str, Any], ...]:
    given = values(EXAMPLES[0])
    given["objectStore"] = {**store, "bundled": {"enabled": True, "kind": kind}}
    given["models"] = [{"name": "tide", "source": "simulated"}]
    return tuple(render(given))


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    return {
        variable["name"]: variable.get("value") or variable["valueFrom"].get("secretKeyRef")
        for variable in pod["containers"][0].get("env", [])
    }


@pytest.mark.parametrize("kind", KINDS)
def test_each_process_has_an_account_of_its_own(kind: str) -> None:
    objects = rendered_with(kind)
    secret = f"shore-tidegate-{kind}"
    seen = set()
    for component, pod in pods(objects):
        told = environment(pod)
        if "TIDEGATE_S3_ENDPOINT" in told:
            account = ACCOUNTS[component]
            assert told["TIDEGATE_S3_ENDPOINT"] == f"http://{secret}:9000"
            assert told["TIDEGATE_S3_ACCESS_KEY"] == account
            assert told["TIDEGATE_S3_SECRET_KEY"] == {"name": secret, "key": f"s3-{account}"}
            seen.add(component)
    assert seen == set(ACCOUNTS)
    keys = set(secrets_plan(objects)[secret])
    assert keys == {f"s3-{name}" for name in ("gateway", "worker", "trainer", "backup", "operator")} | (
        {"s3-root"} if kind == "minio" else set()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_store_and_what_sets_it_up_see_all_keys(kind: str) -> None:
    mounting = {
        component
        for component, pod in pods(rendered_with(kind))
        if any(volume.get("secret", {}).get("secretName") == f"shore-tidegate-{kind}" for volume in pod["volumes"])
    }
    assert mounting == ({"seaweedfs"} if kind == "seaweedfs" else {"bucket"})


@pytest.mark.parametrize("kind", KINDS)
def test_policies_and_scripts_are_those_of_compose_for_the_bucket(kind: str) -> None:
    (scripts,) = [
        item["data"]
        for item in rendered_with(kind, bucket="other-bucket")
        if item["kind"] == "ConfigMap" and item["metadata"]["name"].endswith("object-store")
    ]
    assert scripts.pop(f"{kind}.sh") == Path(f"docker/s3/{kind}.sh").read_text()
    for name, text in scripts.items():
        for statement in json.loads(text)["Statement"]:
            assert all(resource.startswith("arn:aws:s3:::other-bucket") for resource in statement["Resource"]), name
    assert set(scripts) == {file.name for file in Path("docker/s3/policies").iterdir()}
    buckets = {environment(pod).get("STORE_BUCKET") for _, pod in pods(rendered_with(kind, bucket="other-bucket"))}
    assert buckets == {None, "other-bucket"}


def test_a_server_of_ones_own_has_its_keys_in_one_secret() -> None:
    given = values(EXAMPLES[0])
    given["objectStore"] = {"existingSecret": "mine", "endpoint": "https://s3.test"}
    objects = tuple(render(given))
    told = [environment(pod) for _, pod in pods(objects) if "TIDEGATE_S3_ENDPOINT" in environment(pod)]
    assert {(each["TIDEGATE_S3_ENDPOINT"], each["TIDEGATE_S3_ACCESS_KEY"]["name"]) for each in told} == {
        ("https://s3.test", "mine")
    }
    assert not [item for item in objects if "seaweedfs" in item["metadata"]["name"] and item["kind"] == "StatefulSet"]
