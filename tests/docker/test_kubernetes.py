import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT

from tests.docker.deployment import DOCKER, compose, manifest, manifests, pods, schema

RAY = manifest("RayJob", "sweep")["spec"]
CLUSTER = RAY["rayClusterSpec"]
HEAD = CLUSTER["headGroupSpec"]
[WORKERS] = CLUSTER["workerGroupSpecs"]


@pytest.mark.parametrize("pod", pods(manifests()), ids=lambda pod: pod["containers"][0]["name"])
def test_pods_are_pinned_bounded_and_not_root(pod: dict[str, Any]) -> None:
    jsonschema.validate(pod, schema("pod"))


@pytest.mark.parametrize("written", manifests(), ids=lambda written: f"{written['kind']}-{written['metadata']['name']}")
def test_manifests_match_the_schema(written: dict[str, Any]) -> None:
    jsonschema.validate(written, schema("kubernetes"))


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("RayJob", "sweep", "spec.backOffLimit"),
        ("RayJob", "sweep", "spec.rayClusterSpec.rayversion"),
        ("RayJob", "sweep", "spec.rayClusterSpec.headGroupSpec.replicas"),
        ("RayJob", "sweep", "spec.rayClusterSpec.workerGroupSpecs.0.maxreplicas"),
        ("RayJob", "sweep", "spec.rayClusterSpec.autoscalerOptions.idleTimeout"),
        ("Deployment", "mlflow", "spec.template.labels"),
        ("Service", "mlflow", "spec.ports.0.containerPort"),
        ("PersistentVolumeClaim", "results", "spec.accessMode"),
        ("NetworkPolicy", "ray", "spec.ingress.0.form"),
    ],
)
def test_the_schema_refuses_a_typo(kind: str, name: str, path: str) -> None:
    written = copy.deepcopy(manifest(kind, name))
    *parents, last = path.split(".")
    place: Any = written
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    place[last] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema("kubernetes"))


def test_the_schema_refuses_a_root_an_inline_password_and_an_unknown_probe() -> None:
    [pod] = pods(manifest("Deployment", "mlflow"))
    for spoil in ("root", "password", "probe"):
        spoiled = copy.deepcopy(pod)
        if spoil == "root":
            spoiled["securityContext"]["runAsUser"] = 0
        elif spoil == "password":
            spoiled["containers"][0]["env"].append({"name": "PGPASSWORD", "value": "x"})
        else:
            spoiled["containers"][0]["livenesProbe"] = spoiled["containers"][0]["livenessProbe"]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spoiled, schema("pod"))


def test_a_job_has_a_token_a_deadline_and_a_retry() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    assert RAY["activeDeadlineSeconds"] > 0
    assert RAY["backoffLimit"] > 0
    assert RAY["shutdownAfterJobFinishes"] is True


def test_the_head_has_no_cpus_and_workers_scale() -> None:
    assert HEAD["rayStartParams"]["num-cpus"] == "0"
    assert CLUSTER["enableInTreeAutoscaling"] is True
    assert WORKERS["minReplicas"] == 0 < WORKERS["maxReplicas"]
    assert WORKERS["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_all_nodes_write_into_one_storage() -> None:
    claim = manifest("PersistentVolumeClaim", "results")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in (HEAD, WORKERS):
        pod = group["template"]["spec"]
        assert {"name": "results", "persistentVolumeClaim": {"claimName": "results"}} in pod["volumes"]
        assert {"name": "results", "mountPath": "/mnt/results"} in pod["containers"][0]["volumeMounts"]
    assert "--storage /mnt/results" in RAY["entrypoint"]


def test_long_running_containers_are_probed() -> None:
    for pod in (HEAD["template"]["spec"], WORKERS["template"]["spec"], *pods(manifest("Deployment", "mlflow"))):
        assert {"readinessProbe", "livenessProbe"} <= set(pod["containers"][0])


def test_a_worker_is_probed_independently_of_its_head() -> None:
    [head], [worker] = (group["template"]["spec"]["containers"] for group in (HEAD, WORKERS))
    for probe in (container[kind] for container in (head, worker) for kind in ("readinessProbe", "livenessProbe")):
        assert probe["httpGet"] == {"path": "/api/healthz", "port": DEFAULT_DASHBOARD_AGENT_LISTEN_PORT}
    # The kubelet has no token.
    agent = Path(ray.__file__).with_name("dashboard") / "http_server_agent.py"
    [public] = re.findall(r"^PUBLIC_EXACT_PATHS = \[(.*?)\]", agent.read_text(), re.MULTILINE | re.DOTALL)
    assert '"/api/healthz"' in public


def test_mlflow_health_check_accepts_any_host() -> None:
    from mlflow.server.security_utils import is_health_endpoint  # takes a second, which most workers need not spend

    [server] = [container for pod in pods(manifest("Deployment", "mlflow")) for container in pod["containers"]]
    for kind in ("readinessProbe", "livenessProbe"):
        assert is_health_endpoint(server[kind]["httpGet"]["path"])


def test_the_manifest_explains_how_to_create_every_secret() -> None:
    told = "".join(file.read_text() for file in (DOCKER / "kubernetes").glob("*.yaml"))
    for pod in pods(manifests()):
        for entry in pod["containers"][0].get("env", []):
            if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                assert f"create secret generic {reference['name']}" in told
                assert re.search(rf"--from-(literal|file)={reference['key']}=", told), reference


def test_policies_select_existing_pods() -> None:
    labels = [group["template"]["metadata"]["labels"] for group in (HEAD, WORKERS)]
    labels.append(manifest("Deployment", "mlflow")["spec"]["template"]["metadata"]["labels"])
    for policy in (each for each in manifests() if each["kind"] == "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        assert policy["spec"]["podSelector"]["matchLabels"] in labels


def test_mlflow_is_started_as_in_compose() -> None:
    [pod] = pods(manifest("Deployment", "mlflow"))
    here = [w for w in pod["containers"][0]["args"] if "--allowed-hosts" not in w]
    there = [w for w in compose()["services"]["mlflow"]["command"] if "--allowed-hosts" not in w]
    assert here == there
    written = manifest("ConfigMap", "mlflow")["data"]["auth.ini"].split("\n")
    ours = [line for line in (DOCKER / "mlflow-auth.ini").read_text().split("\n") if not line.startswith(";")]
    assert written == ours
