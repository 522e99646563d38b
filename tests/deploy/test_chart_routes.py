"""The ways into the cluster: Ingress and Gateway API lead to all that is for clients, and TLS inside goes by name."""

from pathlib import Path
from typing import Any

import helm_python as helm
import httpx
import pytest

from services.gateway.app import GatewayApp
from services.gateway.grpc.open_inference import SERVICE as OPEN_INFERENCE
from services.gateway.grpc.server import NAME
from tests.deploy import kinds
from tests.deploy.chart import CHART, EXAMPLES, pods, render, values
from tests.deploy.test_chart_scaling import one
from tests.integration.gateway.conftest import settings

INSIDE = {"/livez", "/readyz", "/metrics", "/load"}
"""What the kubelet and Prometheus ask."""
NEW = {"parentRefs": [{"name": "public", "namespace": "infra", "sectionName": "https"}], "hostnames": ["llm.example"]}


def routed(**route: Any) -> list[dict[str, Any]]:
    given = values(EXAMPLES[0])
    given["gateway"] = {
        "ingress": {"enabled": True, "host": "llm.example"},
        "route": {"enabled": True, **NEW, **route},
    }
    return render(given)


def matched(objects: list[dict[str, Any]]) -> dict[str, list[tuple[str, bool]]]:
    """By kind: the paths, and whether each is a prefix."""
    rules = one(objects, "HTTPRoute")["spec"]["rules"]
    by_route = [match["path"] for rule in rules for match in rule["matches"]]
    (ingress,) = one(objects, "Ingress")["spec"]["rules"]
    return {
        "HTTPRoute": sorted((path["value"], path["type"] == "PathPrefix") for path in by_route),
        "Ingress": sorted((path["path"], path["pathType"] == "Prefix") for path in ingress["http"]["paths"]),
    }


def leads_to(paths: list[tuple[str, bool]], path: str) -> bool:
    return any(path == own or (prefix and path.startswith(own + "/")) for own, prefix in paths)


async def served(tmp_path: Path) -> set[str]:
    """The paths that a gateway documents, and those of the console."""
    gateway = GatewayApp(settings("127.0.0.1:9", data_dir=tmp_path / "gateway"))
    app: Any = gateway._http._server.config.app
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as http:
        documented = (await http.get("/openapi.json")).json()["paths"]
        assert (await http.get("/docs")).status_code == 200
    return {*documented, "/", "/docs", "/console/main.js", "/openapi.json"}


async def test_clients_reach_all_that_is_served_and_nothing_else(tmp_path: Path) -> None:
    paths = await served(tmp_path)
    assert {"/v1/chat/completions", "/v2/models/{model}", "/inference/v1/generate", "/tokenize"} <= paths
    for kind, known in matched(routed()).items():
        assert {path for path in paths if not leads_to(known, path)} == INSIDE & paths, kind
        assert not [path for path in INSIDE if leads_to(known, path)], kind


def test_routes_are_valid_and_let_long_answers_through() -> None:
    objects = routed()
    for kind in ("HTTPRoute", "GRPCRoute"):
        item = one(objects, kind)
        kinds.check(item, kinds.VERSIONS[-1])
        assert item["spec"]["parentRefs"] == NEW["parentRefs"]
        assert item["spec"]["hostnames"] == NEW["hostnames"]
    assert {rule["timeouts"]["request"] for rule in one(objects, "HTTPRoute")["spec"]["rules"]} == {"930s"}
    (service,) = [
        item for item in objects if item["kind"] == "Service" and item["metadata"]["name"] == "shore-tidegate-gateway"
    ]
    ports = {port["port"]: port["appProtocol"] for port in service["spec"]["ports"]}
    for kind, protocol in (("HTTPRoute", "http"), ("GRPCRoute", "kubernetes.io/h2c")):
        (backend,) = {rule["backendRefs"][0]["port"] for rule in one(objects, kind)["spec"]["rules"]}
        assert ports[backend] == protocol


def test_every_public_grpc_service_has_its_route() -> None:
    (rule,) = one(routed(), "GRPCRoute")["spec"]["rules"]
    services = {match["method"]["service"] for match in rule["matches"]}
    assert {NAME, OPEN_INFERENCE, "grpc.health.v1.Health"} <= services


def test_grpc_can_be_left_out_and_a_route_needs_a_parent() -> None:
    assert not [item for item in routed(grpc=False) if item["kind"] == "GRPCRoute"]
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmValuesError):
        chart.validate_schema({**values(EXAMPLES[0]), "gateway": {"route": {"enabled": True}}})


def by_cert_manager(**tls: Any) -> list[dict[str, Any]]:
    return render({**values(EXAMPLES[0]), "tls": {"certManager": {"enabled": True}, **tls}})


def certificates(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = [item for item in objects if item["kind"] in ("Certificate", "Issuer")]
    for item in found:
        kinds.check(item, kinds.VERSIONS[-1])
    return {
        f"{item['kind']} {item['metadata']['name'].removeprefix('shore-tidegate-')}": item["spec"] for item in found
    }


def test_cert_manager_makes_an_authority_and_a_certificate_with_a_name_that_processes_check() -> None:
    objects = by_cert_manager()
    made = certificates(objects)
    assert set(made) == {"Certificate tls", "Certificate authority", "Issuer authority", "Issuer self-signed"}
    assert made["Certificate tls"]["issuerRef"] == {"name": "shore-tidegate-authority"}
    assert made["Issuer authority"]["ca"]["secretName"] == made["Certificate authority"]["secretName"]
    assert made["Certificate tls"]["dnsNames"] == ["shore-tidegate.sea.internal"]
    for component, pod in pods(tuple(objects)):
        if component in ("gateway", "router", "worker", "trainer"):
            variables = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
            assert variables["TIDEGATE_TLS_NAME"] == "shore-tidegate.sea.internal"
            (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "tls"]
            assert volume["secret"]["secretName"] == made["Certificate tls"]["secretName"]
            # The kubelet renews files of a directory only.
            (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "tls"]
            assert "subPath" not in mount


def test_an_issuer_of_the_operator_signs_and_nothing_else_is_made() -> None:
    issuer = {"name": "vault", "kind": "ClusterIssuer"}
    made = certificates(by_cert_manager(certManager={"enabled": True, "issuerRef": issuer}, name="llm.internal"))
    assert set(made) == {"Certificate tls"}
    assert (made["Certificate tls"]["issuerRef"], made["Certificate tls"]["dnsNames"]) == (issuer, ["llm.internal"])


def test_a_secret_and_cert_manager_exclude_each_other() -> None:
    with pytest.raises(helm.HelmError, match=r"tls: existingSecret = mine and certManager\.enabled = true"):
        by_cert_manager(existingSecret="mine")


def test_the_password_of_redis_may_be_a_file_of_a_secret_that_somebody_brings() -> None:
    given = {**values(EXAMPLES[0]), "redis": {"existingSecret": "mine", "passwordFile": True}}
    (router,) = [pod for component, pod in pods(tuple(render(given))) if component == "router"]
    variables = {variable["name"]: variable.get("value") for variable in router["containers"][0]["env"]}
    (mount,) = [mount for mount in router["containers"][0]["volumeMounts"] if mount["name"] == "redis-password"]
    assert variables["TIDEGATE_REDIS_PASSWORD_FILE"] == f"{mount['mountPath']}/password"
    with pytest.raises(helm.HelmError, match=r"redis\.passwordFile = true needs redis\.existingSecret"):
        render({**values(EXAMPLES[0]), "redis": {"bundled": {"enabled": True}, "passwordFile": True}})


def test_secrets_come_from_a_vault_with_the_keys_that_pods_ask_for() -> None:
    objects = render(values(CHART / "examples/external-secrets.yaml"))
    brought = {item["spec"]["target"]["name"]: item["spec"] for item in objects if item["kind"] == "ExternalSecret"}
    assert not {item["kind"] for item in objects} & {"Job", "Role", "Secret"}
    references = [
        variable["valueFrom"]["secretKeyRef"]
        for _, pod in pods(tuple(objects))
        for variable in pod["containers"][0].get("env", [])
        if "secretKeyRef" in variable.get("valueFrom", {})
    ]
    assert {reference["name"] for reference in references} <= brought.keys()
    for reference in references:
        made = brought[reference["name"]]["target"].get("template", {}).get("data")
        assert made is None or reference["key"] in made or reference.get("optional"), reference
