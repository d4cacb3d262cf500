"""The manifests keep Kubernetes' schema, and name nothing that does not exist."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ops.settings import Settings
from tests.ops.docker.compose import ROOT, read_project, words

DIRECTORY = ROOT / "ops" / "kubernetes"
VERSION = "1.34"
OF_OTHERS = {"ScaledObject", "Kustomization"}
"""Kinds whose schemas do not come with Kubernetes."""
Manifest = dict[str, Any]


def resources(directory: Path) -> list[Path]:
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    return [directory / name for name in kustomization["resources"]]


def read_all() -> list[Manifest]:
    paths = [*resources(DIRECTORY), *resources(DIRECTORY / "migrations")]
    return [manifest for path in paths for manifest in yaml.safe_load_all(path.read_text())]


MANIFESTS = read_all()
WORKLOADS = {m["metadata"]["name"]: m for m in MANIFESTS if m["kind"] in {"Deployment", "Job"}}
DEPLOYMENTS = {name: m for name, m in WORKLOADS.items() if m["kind"] == "Deployment"}
SERVICES = read_project()["services"]

each_workload = pytest.mark.parametrize("name", WORKLOADS)


def of_kind(kind: str) -> list[Manifest]:
    found = [manifest for manifest in MANIFESTS if manifest["kind"] == kind]
    assert found, f"there is no {kind}"
    return found


def pod(name: str) -> Manifest:
    template: Manifest = WORKLOADS[name]["spec"]["template"]
    return template


def container(name: str) -> Manifest:
    (found,) = pod(name)["spec"]["containers"]
    return dict(found)


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    fixed = selector.get("matchLabels", {}).items() <= labels.items()
    listed = all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))
    return fixed and listed


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_manifest_keeps_the_schema(manifest: Manifest) -> None:
    if manifest["kind"] not in OF_OTHERS:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_every_file_is_applied() -> None:
    applied = {*resources(DIRECTORY), *resources(DIRECTORY / "migrations")}

    assert {path for path in DIRECTORY.rglob("*.yaml") if path.name != "kustomization.yaml"} == applied


@each_workload
def test_workload_runs_the_command_that_compose_runs(name: str) -> None:
    assert container(name)["command"] == words(SERVICES[name]["command"])


def test_every_worker_and_role_of_compose_is_deployed() -> None:
    ours = {name for name, service in SERVICES.items() if "build" in service and "profiles" not in service}

    assert set(WORKLOADS) == ours - {"secrets", "sandbox"}


@each_workload
def test_workload_is_confined(name: str) -> None:
    spec, confined = pod(name)["spec"], container(name)["securityContext"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert {"requests", "limits"} <= set(container(name)["resources"])


@each_workload
def test_variables_are_settings_and_secrets_are_mounted_where_they_are_read(name: str) -> None:
    env = {variable["name"]: variable["value"] for variable in container(name)["env"]}
    settings = {f"MARKETFLOW_{field.upper()}" for field in Settings.model_fields}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(name)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(name)["spec"]["volumes"]}

    assert set(env) - {"MARKETFLOW_SECRETS_DIR"} <= settings
    assert env["MARKETFLOW_SECRETS_DIR"] == mounts["secrets"]
    assert set(mounts) == set(volumes)
    assert (volumes["secrets"]["secret"]["secretName"] == "marketflow-owner") == (name == "migrate")


def test_configuration_is_made_of_settings() -> None:
    (configuration,) = of_kind("ConfigMap")
    settings = {f"MARKETFLOW_{field.upper()}" for field in Settings.model_fields}

    assert set(configuration["data"]) <= settings
    assert all(isinstance(value, str) for value in configuration["data"].values())


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_deployment_is_probed_on_ports_that_it_has(name: str) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(name).get("ports", [])}
    probes = [probe for key, probe in container(name).items() if key.endswith("Probe")]

    assert "livenessProbe" in container(name)
    assert {probe["httpGet"]["port"] for probe in probes if "httpGet" in probe} <= set(ports)
    assert matches(DEPLOYMENTS[name]["spec"]["selector"], pod(name)["metadata"]["labels"])


def test_what_serves_in_numbers_is_disrupted_one_by_one() -> None:
    budgets = of_kind("PodDisruptionBudget")
    guarded = {
        name
        for name in DEPLOYMENTS
        for budget in budgets
        if matches(budget["spec"]["selector"], pod(name)["metadata"]["labels"])
    }

    assert guarded == {name for name in DEPLOYMENTS if name == "api" or name.startswith("worker-")}
    assert {budget["spec"]["maxUnavailable"] for budget in budgets} == {1}


def test_each_deployment_has_its_number_from_one_place() -> None:
    scalers = [*of_kind("HorizontalPodAutoscaler"), *of_kind("ScaledObject")]
    scaled = [scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers]
    fixed = [name for name, deployment in DEPLOYMENTS.items() if "replicas" in deployment["spec"]]

    assert sorted(scaled + fixed) == sorted(DEPLOYMENTS)


def test_workers_are_scaled_by_the_age_of_their_own_queue() -> None:
    metrics = (ROOT / "api/metrics.py").read_text()

    for scaled in of_kind("ScaledObject"):
        (trigger,) = scaled["spec"]["triggers"]
        found = re.fullmatch(r'max\((\w+)\{work="(\w+)"\}\)', trigger["metadata"]["query"])
        assert found is not None
        metric, work = found.groups()
        assert f'"{metric}"' in metrics
        assert work in container(scaled["metadata"]["name"])["command"]
        assert scaled["spec"]["minReplicaCount"] <= scaled["spec"]["fallback"]["replicas"]


def test_services_and_policies_select_pods_that_exist_on_ports_that_they_have() -> None:
    labels = {name: pod(name)["metadata"]["labels"] for name in WORKLOADS}
    for service in of_kind("Service"):
        assert any(service["spec"]["selector"].items() <= found.items() for found in labels.values())
    ports = {port["containerPort"] for name in WORKLOADS for port in container(name).get("ports", [])}
    for policy in of_kind("NetworkPolicy"):
        assert any(matches(policy["spec"]["podSelector"], found) for found in labels.values())
        for rule in policy["spec"].get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= ports


def discovered(name: str) -> list[dict[str, str]]:
    """What Prometheus learns of a pod: a target for each port of its container."""
    metadata = pod(name)["metadata"]
    labels = {f"pod_label_{_sanitized(key)}": value for key, value in metadata["labels"].items()}
    notes = {f"pod_annotation_{_sanitized(key)}": value for key, value in metadata.get("annotations", {}).items()}
    found = {f"__meta_kubernetes_{key}": value for key, value in {**labels, **notes}.items()}
    ports = [str(port["containerPort"]) for port in container(name).get("ports", [])] or [""]
    return [
        {"job": "marketflow", **found, "__meta_kubernetes_pod_container_port_number": port, "port": port}
        for port in ports
    ]


def _sanitized(name: str) -> str:
    return re.sub(r"\W", "_", name)


def relabelled(target: dict[str, str], rules: list[Manifest]) -> dict[str, str] | None:
    """Do what Prometheus' rules say, of those actions that ours name; None is a target that is dropped."""
    for rule in rules:
        value = ";".join(target.get(name, "") for name in rule["source_labels"])
        agrees = re.fullmatch(rule.get("regex", ".*"), value) is not None
        match rule.get("action", "replace"):
            case "keep" if not agrees:
                return None
            case "keepequal" if value != target.get(rule["target_label"]):
                return None
            case "replace" if agrees:
                target = {**target, rule["target_label"]: rule.get("replacement", value)}
    return target


def test_prometheus_scrapes_the_pods_under_the_names_of_the_alerts() -> None:
    (scrape,) = yaml.safe_load((ROOT / "ops/prometheus/kubernetes.yml").read_text())["scrape_configs"]
    targets = [target for name in WORKLOADS for target in discovered(name)]
    kept = [found for target in targets if (found := relabelled(target, scrape["relabel_configs"]))]

    assert scrape["kubernetes_sd_configs"][0]["namespaces"]["names"] == ["marketflow"]
    workers = [name for name in DEPLOYMENTS if name.startswith("worker-")]
    expected = [("api", "8000"), ("flower", "5555"), *[("workers", "9100") for _ in workers]]
    assert sorted((target["job"], target["port"]) for target in kept) == sorted(expected)
    named = set(re.findall(r'job="(\w+)"', (ROOT / "ops/prometheus/alerts.yml").read_text()))
    assert named <= {target["job"] for target in kept}


def test_nobody_speaks_to_anybody_unless_a_policy_says_so() -> None:
    everybody = [policy for policy in of_kind("NetworkPolicy") if policy["spec"]["podSelector"] == {}]

    assert [sorted(policy["spec"]["policyTypes"]) for policy in everybody] == [["Egress", "Ingress"]]
    assert not any("ingress" in policy["spec"] or "egress" in policy["spec"] for policy in everybody)


def test_images_are_the_same_for_all_and_bear_a_tag() -> None:
    files = [DIRECTORY / "kustomization.yaml", DIRECTORY / "migrations" / "kustomization.yaml"]
    images = [yaml.safe_load(path.read_text())["images"] for path in files]

    assert images[0] == images[1]
    assert {container(name)["image"] for name in WORKLOADS} == {image["name"] for image in images[0]}
    assert re.fullmatch(r"\d+\.\d+\.\d+", images[0][0]["newTag"])
