"""Every overlay and every combination of components renders to what an API server accepts."""

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import kubernetes_validate.utils
import pytest
import yaml
from documents import document
from k8s_render import (
    BASE,
    COMPONENTS,
    K8S,
    OVERLAYS,
    Manifest,
    find,
    needs_kubectl,
    pod_templates,
    render,
    render_components,
    train_container,
    write_overlay,
)
from k8s_restricted import violations

pytestmark = needs_kubectl

COMBINATIONS = [
    names
    for size in range(len(COMPONENTS) + 1)
    for names in itertools.combinations(COMPONENTS, size)
]
VERSIONS = sorted(
    {v for v in kubernetes_validate.utils.all_versions() if int(v.split(".")[1]) >= 31},
    key=lambda v: int(v.split(".")[1]),
)
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def different(rendered: Iterable[list[Manifest]]) -> list[Manifest]:
    """Every manifest once."""
    return list({json.dumps(m, sort_keys=True): m for each in rendered for m in each}.values())


def overlays() -> list[Manifest]:
    return different(render(folder) for folder in [BASE, *(K8S / "overlays" / n for n in OVERLAYS)])


def combinations() -> list[Manifest]:
    return different(render_components(names) for names in COMBINATIONS)


def test_the_tree_has_the_promised_parts() -> None:
    components = [
        "cpu",
        "kueue",
        "multi-host",
        "s3-keys",
        "schedule",
        "scratch",
        "seaweedfs",
        "spot",
    ]
    assert components == COMPONENTS
    assert OVERLAYS == ["local", "multi-host", "production", "scheduled"]
    assert set(CHANGED) == set(PATCHES)


@pytest.mark.parametrize("version", VERSIONS)
def test_overlays_keep_to_the_strict_schema(version: str) -> None:
    for manifest in overlays():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_combinations_keep_to_the_strict_schema() -> None:
    for manifest in combinations():
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_several_versions_are_checked_and_a_typo_is_caught() -> None:
    assert len(VERSIONS) >= 5
    job = json.loads(json.dumps(find(render(BASE), "Job")))
    job["spec"]["backOffLimit"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="backOffLimit"):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("names", [*itertools.combinations(COMPONENTS, 2), tuple(COMPONENTS)])
def test_components_combine_in_any_order(names: tuple[str, ...]) -> None:
    """The order of components matters to nobody but `schedule`, which wraps the others."""

    def unordered(manifests: list[Manifest]) -> list[Manifest]:
        manifests = json.loads(json.dumps(manifests))
        for template in pod_templates(manifests):
            template["spec"].get("tolerations", []).sort(key=lambda t: str(t["key"]))
            for container in template["spec"]["containers"]:
                container.get("envFrom", []).sort(key=str)
                container.get("env", []).sort(key=str)
        return manifests

    assert unordered(render_components(names)) == unordered(render_components(names[::-1]))


def test_names_and_labels_are_valid() -> None:
    for manifest in [*overlays(), *combinations()]:
        name = manifest["metadata"]["name"]
        assert DNS_LABEL.fullmatch(name), name
        # a Job's name goes into a label, and the CronJob controller adds eleven characters
        assert manifest["kind"] != "CronJob" or len(name) <= 52
        for holder in [manifest, *pod_templates([manifest])]:
            for key, value in holder["metadata"].get("labels", {}).items():
                assert LABEL_VALUE.fullmatch(value), (key, value)


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_every_reference_finds_its_object(names: tuple[str, ...]) -> None:
    manifests = render_components(names)
    names_of = lambda kind: {m["metadata"]["name"] for m in manifests if m["kind"] == kind}  # noqa: E731
    for template in pod_templates(manifests):
        spec = template["spec"]
        assert spec.get("serviceAccountName", "default") in names_of("ServiceAccount") | {"default"}
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert {m["name"] for m in container.get("volumeMounts", [])} <= volumes
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    assert source["configMapRef"]["name"] in names_of("ConfigMap")
                elif not source["secretRef"].get("optional"):
                    assert source["secretRef"]["name"] in names_of("Secret")


def selected(manifests: list[Manifest], labels: dict[str, str]) -> list[str]:
    return [
        template["spec"]["containers"][0]["name"]
        for template in pod_templates(manifests)
        if labels.items() <= template["metadata"]["labels"].items()
    ]


def test_services_and_network_policies_select_the_right_pods() -> None:
    manifests = render_components(("s3-keys", "seaweedfs"))
    assert selected(manifests, find(manifests, "Service")["spec"]["selector"]) == ["seaweedfs"]
    deployment = find(manifests, "Deployment")["spec"]
    assert selected(manifests, deployment["selector"]["matchLabels"]) == ["seaweedfs"]
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}
    pods = {
        name: selected(manifests, p["podSelector"]["matchLabels"]) for name, p in policies.items()
    }
    assert pods == {
        "mlp-job": ["train"],
        "mlp-job-to-seaweedfs": ["train"],
        "seaweedfs": ["seaweedfs"],
    }

    def peer(rules: list[dict[str, Any]], side: str) -> list[Any]:
        (rule,) = rules
        (selector,) = rule[side]
        return [selected(manifests, selector["podSelector"]["matchLabels"]), rule["ports"]]

    s3 = [{"port": 8333, "protocol": "TCP"}]
    assert peer(policies["mlp-job-to-seaweedfs"]["egress"], "to") == [["seaweedfs"], s3]
    assert peer(policies["seaweedfs"]["ingress"], "from") == [["train"], s3]
    assert "egress" not in policies["seaweedfs"]
    assert "ingress" not in policies["mlp-job"]
    for name in ("mlp-job", "seaweedfs"):  # what is not allowed is denied, both ways
        assert policies[name]["policyTypes"] == ["Ingress", "Egress"]


def test_a_users_overlay_reaches_the_cronjob(tmp_path: Path) -> None:
    """The README's way: prefix, namespace and image in the outermost overlay."""
    folder = write_overlay(
        tmp_path / "mine",
        [K8S / "overlays" / "scheduled"],
        [],
        namespace="ml",
        namePrefix="churn-",
        images=[{"name": "registry.example.com/ml/mlp-job", "newTag": "2.0.0"}],
        configMapGenerator=[
            {"name": "mlp-job", "behavior": "merge", "literals": ["MLP_JOB_EPOCHS=3"]}
        ],
    )
    manifests = render(folder)
    assert {m["metadata"]["namespace"] for m in manifests} == {"ml"}
    cronjob, config = find(manifests, "CronJob", "churn-"), find(manifests, "ConfigMap", "churn-")
    container = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example.com/ml/mlp-job:2.0.0"
    assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    assert config["data"]["MLP_JOB_EPOCHS"] == "3"


def without(content: Any) -> Iterator[Any]:
    """The content less one leaf, for every leaf."""
    if isinstance(content, dict):
        for key, value in content.items():
            for less in without(value):
                yield {**content, key: less}
    elif isinstance(content, list):
        for i, value in enumerate(content):
            yield content[:i] + content[i + 1 :]
            if not isinstance(value, str):
                for less in without(value):
                    yield [*content[:i], less, *content[i + 1 :]]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_holds_only_what_differs(name: str, tmp_path: Path) -> None:
    """Without any of its entries or variables an overlay renders to something else, or not."""
    copy = shutil.copytree(K8S, tmp_path / "k8s") / "overlays" / name
    files = {path.name for path in copy.iterdir()}
    assert files <= {"kustomization.yaml", "train.env"}
    real = render(K8S / "overlays" / name)
    variants = [
        ("kustomization.yaml", yaml.safe_dump(less))
        for less in without(yaml.safe_load((copy / "kustomization.yaml").read_text()))
    ]
    if "train.env" in files:
        lines = (copy / "train.env").read_text().splitlines()
        variants += [
            ("train.env", "\n".join(lines[:i] + lines[i + 1 :])) for i in range(len(lines))
        ]
    assert variants
    for number, (file, content) in enumerate(variants):
        folder = shutil.copytree(copy, copy.with_name(f"{name}-{number}"))
        (folder / file).write_text(content)
        with contextlib.suppress(ValueError):  # kustomize refuses it
            assert render(folder) != real, content


def test_a_prefix_reaches_the_store_and_the_job_that_waits_for_it(tmp_path: Path) -> None:
    folder = write_overlay(
        tmp_path / "mine", [K8S / "overlays" / "local"], [], namePrefix="a-", nameSuffix="-b"
    )
    manifests = render(folder)
    assert find(manifests, "Service")["metadata"]["name"] == "a-seaweedfs-b"
    spec = find(manifests, "Job")["spec"]["template"]["spec"]
    for (container,) in (spec["initContainers"], spec["containers"]):
        env = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert env["S3_SERVICE"] == "a-seaweedfs-b"
    names = list(env)  # a reference reaches only what stands above it
    assert names.index("S3_SERVICE") < names.index("AWS_ENDPOINT_URL_S3")
    assert env["AWS_ENDPOINT_URL_S3"] == "http://$(S3_SERVICE):8333"


def test_the_job_that_waits_for_its_store_says_so_and_ends_at_sigterm(tmp_path: Path) -> None:
    spec = find(render(K8S / "overlays" / "local"), "Job")["spec"]["template"]["spec"]
    (container,) = spec["initContainers"]
    wget = tmp_path / "wget"
    wget.write_text("#!/bin/sh\nexit 1\n")
    wget.chmod(0o755)
    waiting = subprocess.Popen(
        [*container["command"], *container["args"]],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "S3_SERVICE": "a-seaweedfs"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with waiting:
        said = [waiting.stdout.readline() for _ in range(2)] if waiting.stdout else []
        assert said == ["Waiting for http://a-seaweedfs:8333: no answer yet.\n"] * 2
        waiting.terminate()
        assert waiting.wait(timeout=60) == 143


def test_only_the_data_of_the_trial_server_is_on_a_nodes_disk() -> None:
    """`kubectl drain` rejects pods with an emptyDir that is not in memory."""
    manifests = render(K8S / "overlays" / "local")
    on_disk = [
        volume["name"]
        for template in pod_templates(manifests)
        for volume in template["spec"]["volumes"]
        if volume["emptyDir"].get("medium") != "Memory"
    ]
    assert on_disk == ["data"]


PATCHES = sorted(folder.name for folder in (K8S / "patches").iterdir())
CHANGED = {
    **{name: {"Job"} for name in PATCHES},
    "metrics-gateway": {"Job", "ConfigMap", "NetworkPolicy"},
    "openshift-dns": {"NetworkPolicy"},
    "pod-identity": {"NetworkPolicy"},
    "proxy": {"Job", "NetworkPolicy"},
    "resume-run": {"Job", "ConfigMap"},  # the ConfigMap's new name
    "resume-unfinished": {"Job", "ConfigMap"},
    "one-gpu": {"ResourceQuota"},
    "schedule": {"CronJob"},
}
"""The kinds that a patch changes or adds, by patch."""


def patched(*patches: str, folder: Path, nightly: bool = False) -> list[Manifest]:
    """`production` (or `scheduled` around it) of a user who has named patches there."""
    tree = shutil.copytree(K8S, folder / "k8s")
    overlay = "scheduled" if patches == ("schedule",) else "production"
    file = tree / "overlays" / overlay / "kustomization.yaml"
    content = yaml.safe_load(file.read_text())
    content.setdefault("components", []).extend(f"../../patches/{patch}" for patch in patches)
    file.write_text(yaml.safe_dump(content))
    return render(tree / "overlays" / ("scheduled" if nightly else overlay))


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_changes_what_it_says_and_stays_valid(name: str, tmp_path: Path) -> None:
    before = render(K8S / "overlays" / ("scheduled" if name == "schedule" else "production"))
    after = patched(name, folder=tmp_path)
    changed = [manifest for manifest in after if manifest not in before]
    assert {manifest["kind"] for manifest in changed} == CHANGED[name]
    assert len(changed) == len(CHANGED[name])
    for manifest in after:
        for version in (VERSIONS[0], VERSIONS[-1]):
            kubernetes_validate.validate(manifest, version, strict=True)
    for template in pod_templates(after):
        assert violations(template) == []


@pytest.mark.parametrize("name", sorted(set(PATCHES) - {"schedule"}))
def test_a_patch_of_production_reaches_the_nights(name: str, tmp_path: Path) -> None:
    nights = patched(name, folder=tmp_path / "nights", nightly=True)
    once = patched(name, folder=tmp_path / "once")
    pod, expected = train_container(nights), train_container(once)
    del pod["envFrom"], expected["envFrom"]  # the ConfigMap has another name there
    assert pod == expected
    for manifest in nights:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_what_is_named_around_the_nights_changes_nothing_as_the_readme_says(tmp_path: Path) -> None:
    nights = K8S / "overlays" / "scheduled"
    assert "the CronJob stays as it was" in README
    for name in ("spot", "../patches/memory"):
        folder = write_overlay(tmp_path / name.strip("./").replace("/", "-"), [nights], [name])
        assert render(folder) == render(nights)


def test_patches_combine_and_keep_each_others_changes(tmp_path: Path) -> None:
    some = [name for name in PATCHES if name not in ("schedule", "mig")]
    for folder, names in (("there", some), ("back", some[::-1])):
        manifests = patched(*names, folder=tmp_path / folder)
        template = find(manifests, "Job")["spec"]["template"]
        for manifest in manifests:
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
        assert violations(template) == []
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        assert volumes == {"tmp", "private-ca", "volume", "shm"}
        assert template["metadata"]["annotations"] == {"karpenter.sh/do-not-disrupt": "true"}
        assert "ttlSecondsAfterFinished" not in find(manifests, "Job")["spec"]


def test_several_gpus_are_all_used(tmp_path: Path) -> None:
    train = train_container(patched("several-gpus", folder=tmp_path))
    assert train["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert {"name": "MLP_JOB_DEVICES", "value": "all"} in train["env"]


def test_several_hosts_wait_in_a_queue_and_are_spread_over_nodes(tmp_path: Path) -> None:
    """Kueue admits all pods of a Job at once: it counts `parallelism` of them."""
    extra = ["kueue", str(K8S / "patches" / "spread")]
    manifests = render(write_overlay(tmp_path / "mine", [K8S / "overlays/multi-host"], extra))
    for manifest in manifests:
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)
    job = find(manifests, "Job")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    assert job["spec"]["parallelism"] == job["spec"]["completions"] == 2
    assert "kueue.x-k8s.io/job-min-parallelism" not in job["metadata"].get("annotations", {})
    template = job["spec"]["template"]
    assert violations(template) == []
    (spread,) = template["spec"]["topologySpreadConstraints"]
    selector = spread["labelSelector"]["matchLabels"]
    assert selector.items() <= template["metadata"]["labels"].items()
    assert spread["topologyKey"] == "kubernetes.io/hostname"


def test_pods_that_predict_share_files_without_a_gpu(tmp_path: Path) -> None:
    """The README's overlay, around `production`."""
    (text,) = re.findall(r"```yaml\n(.+?)```", README.split("\n## Many files\n")[1], re.DOTALL)
    tree = shutil.copytree(K8S, tmp_path / "k8s")
    folder = tree / "overlays" / "predict"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(text)
    manifests = render(folder)
    for manifest in manifests:
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)
    job = find(manifests, "Job")
    assert job["metadata"]["name"] == "mlp-job-predict"
    spec, container = job["spec"], train_container(manifests)
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] <= spec["completions"]
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert env["MLP_JOB_HOSTS"] == str(spec["completions"])
    assert container["args"][:2] == ["predict", "champion"]
    assert "{file}" in container["args"][-1]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert violations(spec["template"]) == []


def test_the_failure_policy_still_has_its_order_with_fail_on_oom(tmp_path: Path) -> None:
    rules = find(patched("fail-on-oom", folder=tmp_path), "Job")["spec"]["podFailurePolicy"][
        "rules"
    ]
    disruption = next(i for i, rule in enumerate(rules) if "onPodConditions" in rule)
    killed = next(
        i for i, rule in enumerate(rules) if 137 in rule.get("onExitCodes", {}).get("values", [])
    )
    assert rules[killed]["action"] == "FailJob"
    assert disruption < killed  # an eviction may end with SIGKILL


README = document("k8s/README.md")


def test_the_readme_names_every_component_and_patch() -> None:
    for heading, names in (("Components", COMPONENTS), ("Patches", PATCHES)):
        section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        assert sorted(re.findall(r"`([^`]+)`", " ".join(cells))) == names


def pod_status(name: str, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "train", "image": "mlp-job"}]},
        "status": status,
    }


def test_the_readmes_one_liner_shows_every_end(tmp_path: Path) -> None:
    """kubectl's own JSONPath, on pods as an API server reports them."""
    ended = lambda **how: {"containerStatuses": [{"name": "train", "state": {"terminated": how}}]}  # noqa: E731
    pods = [
        pod_status("done", **ended(exitCode=0, reason="Completed", message='{"version": 1}')),
        pod_status("killed", **ended(exitCode=137, reason="OOMKilled")),
        pod_status("evicted", reason="Evicted", message="The node was low on memory."),
    ]
    shown = []
    (path,) = re.findall(r"jsonpath='\{range \.items\[\*\]\}(.+)\{end\}'", README)
    for pod in pods:
        file = tmp_path / f"{pod['metadata']['name']}.yaml"
        file.write_text(yaml.safe_dump(pod))
        command = ["kubectl", "annotate", "--local", "-f", file, "a=b", "-o", f"jsonpath={path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        shown.append(done.stdout)
    assert shown == [
        'done\tCompleted\t0\t{"version": 1}\n',
        "killed\tOOMKilled\t137\t\n",
        "evicted\tEvicted\t\tThe node was low on memory.\n",
    ]


def test_the_alerts_are_rules_on_the_figures_of_this_job() -> None:
    (group,) = yaml.safe_load((K8S / "alerts.yaml").read_text())["groups"]
    scheduled = find(render(K8S / "overlays" / "scheduled"), "CronJob")["metadata"]["name"]
    nothing, failed = (rule["expr"] for rule in group["rules"])
    assert f'cronjob="{scheduled}"' in nothing
    (pattern,) = re.findall(r'job_name=~"([^"]+)"', failed)
    assert re.fullmatch(pattern, f"{scheduled}-29474280")


def test_the_number_of_hosts_is_one_number(tmp_path: Path) -> None:
    """`overlays/multi-host` with eight in place of two, under a name prefix."""
    hosts = 8
    overlay = yaml.safe_load((K8S / "overlays/multi-host/kustomization.yaml").read_text())
    patch = overlay["patches"][0]["patch"]
    assert patch.count("value: 2 ") == 1
    folder = write_overlay(
        tmp_path.resolve() / "eight",
        [K8S / "overlays/production"],
        ["multi-host"],
        namePrefix="mine-",
        patches=[overlay["patches"][0] | {"patch": patch.replace("value: 2 ", f"value: {hosts} ")}],
        replacements=overlay["replacements"],
    )
    manifests = render(folder)
    spec = find(manifests, "Job")["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == hosts
    environment = {each["name"]: each.get("value") for each in train_container(manifests)["env"]}
    assert environment["MLP_JOB_HOSTS"] == str(hosts)
    service = find(manifests, "Service")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    name = service["metadata"]["name"]
    assert name == spec["template"]["spec"]["subdomain"] == environment["K8S_JOB_PEERS"]
    assert environment["MLP_JOB_PEER_ADDRESS"] == "$(K8S_JOB_NAME)-{index}.$(K8S_JOB_PEERS)"
    labels = spec["template"]["metadata"]["labels"].items()
    policy = find(manifests, "NetworkPolicy", "mine-mlp-job-peers")["spec"]
    own = policy["podSelector"]
    assert policy["ingress"] == [{"from": [{"podSelector": own}]}]
    assert policy["egress"] == [{"to": [{"podSelector": own}]}]
    assert service["spec"]["selector"].items() <= labels
    assert own["matchLabels"].items() <= labels
