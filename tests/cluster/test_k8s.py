"""What the manifests promise, and what they share with the code, is so."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from k8s_render import (
    BASE,
    COMPONENTS,
    K8S,
    OVERLAYS,
    Manifest,
    find,
    job_template,
    needs_kubectl,
    pod_templates,
    quantity,
    render,
    render_components,
    train_container,
    write_overlay,
)

import job
from job import errors
from job.config import OPTIONS, Config, envvar

pytestmark = needs_kubectl

EVERY = [BASE, *(K8S / "overlays" / name for name in OVERLAYS)]
VARIABLES = set(map(envvar, OPTIONS))
A_BUG = 1

each_overlay = pytest.mark.parametrize("folder", EVERY, ids=lambda path: path.name)


def codes(rule: errors.Rule) -> set[int]:
    """The exit codes of the classes in errors.py that have this rule."""
    classes = errors.JobError.__subclasses__()
    return {each.exit_code for each in classes if each.rule == rule}


def test_one_pod_template_of_the_job_in_the_whole_tree() -> None:
    """The CronJob has none of its own; the seaweedfs component's server is another program."""
    holders = [
        path
        for path in sorted(K8S.rglob("*.yaml"))
        if re.search(r"^\s+image: mlp-job$", path.read_text(), re.MULTILINE)
    ]
    assert holders == [BASE / "job.yaml"]
    cronjob = yaml.safe_load((K8S / "components" / "schedule" / "cronjob.yaml").read_text())
    assert cronjob["spec"]["jobTemplate"] == {}


@pytest.mark.parametrize(
    "names", [(), ("spot",), ("kueue", "s3-keys"), tuple(n for n in COMPONENTS if n != "schedule")]
)
def test_the_cronjob_creates_the_very_job(names: tuple[str, ...]) -> None:
    job_ = find(render_components(names), "Job")
    manifests = render_components((*names, "schedule"))
    cronjob = find(manifests, "CronJob")
    template = cronjob["spec"]["jobTemplate"]
    assert template["spec"] == job_["spec"]
    assert template["metadata"]["labels"] == job_["metadata"]["labels"]
    assert all(m["kind"] != "Job" for m in manifests)


def test_scheduled_is_production_at_night_when_there_is_something_new() -> None:
    scheduled = render(K8S / "overlays/scheduled")
    production = copy.deepcopy(render(K8S / "overlays/production"))
    options = find(production, "ConfigMap")
    old = options["metadata"]["name"]
    new = find(scheduled, "ConfigMap")["metadata"]["name"]
    assert new != old  # a name by its content
    options["metadata"]["name"] = new
    options["data"] |= {"MLP_JOB_SKIP_UNCHANGED": "true", "MLP_JOB_RESUME_UNFINISHED": "true"}
    job = json.loads(json.dumps(find(production, "Job")["spec"]).replace(old, new))
    assert job_template(scheduled)["spec"] == job
    others = [m for m in production if m["kind"] != "Job"]
    assert [m for m in scheduled if m["kind"] != "CronJob"] == others
    spec = find(scheduled, "CronJob")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["timeZone"]
    assert spec["startingDeadlineSeconds"] > 10  # less, and a tick can be missed altogether
    assert {"successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= spec.keys()
    # a Job ends before the next tick
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 24 * 3600


@each_overlay
def test_the_failure_policy_is_that_of_the_exit_codes(folder: Path) -> None:
    spec = job_template(render(folder))["spec"]
    rules = spec["podFailurePolicy"]["rules"]
    on_codes = {}
    for rule in rules:
        if "onExitCodes" in rule:
            condition = rule["onExitCodes"]
            assert condition["operator"] == "In"
            assert condition["containerName"] == "train"
            values = condition["values"]
            assert values == sorted(set(values)), "an API server refuses unordered values"
            assert 0 not in values
            assert rule["action"] not in on_codes
            on_codes[rule["action"]] = set(values)
    assert on_codes == {
        "FailJob": codes("FailJob"),
        "Ignore": codes("Ignore"),
        "Count": codes("Count") | {A_BUG},
    }
    # A verdict stands even when the pod was being evicted; whatever else an eviction does is
    # nobody's fault.
    disruption = {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    actions = [rule["action"] for rule in rules]
    assert actions.index("FailJob") < rules.index(disruption) < actions.index("Count")


@each_overlay
def test_the_job_uses_what_kubernetes_has(folder: Path) -> None:
    spec = job_template(render(folder))["spec"]
    pod = spec["template"]["spec"]
    container = train_container(render(folder))
    assert spec["podReplacementPolicy"] == "Failed"
    assert pod["restartPolicy"] == "Never"
    assert {"backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"} <= spec.keys()
    assert pod["terminationGracePeriodSeconds"] >= 15  # a checkpoint is saved within ten
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert container["args"] == ["train"]
    assert "command" not in container  # the image's own entrypoint, which gets the signals
    recommended = {"name", "instance", "component", "part-of", "managed-by"}
    for labels in (spec["template"]["metadata"]["labels"], find_labels(render(folder))):
        assert {f"app.kubernetes.io/{label}" for label in recommended} <= labels.keys()


def find_labels(manifests: list[Manifest]) -> dict[str, str]:
    labels: dict[str, str] = job_template(manifests)["metadata"]["labels"]
    return labels


@each_overlay
def test_run_and_attempt_come_from_the_downward_api(folder: Path) -> None:
    container = train_container(render(folder))
    env = {variable["name"]: variable for variable in container["env"]}
    fields = {
        name: variable["valueFrom"]["fieldRef"]["fieldPath"]
        for name, variable in env.items()
        if "valueFrom" in variable
    }
    assert fields == {
        "K8S_JOB_NAME": "metadata.labels['batch.kubernetes.io/job-name']",
        "K8S_JOB_UID": "metadata.labels['batch.kubernetes.io/controller-uid']",
        "MLP_JOB_ATTEMPT": "metadata.name",
    }
    assert env["MLP_JOB_DEFAULT_RUN_ID"]["value"] == "$(K8S_JOB_NAME)-$(K8S_JOB_UID)"
    assert "MLP_JOB_RUN_ID" not in env  # `env` would override the user's in train.env
    names = list(env)  # a reference reaches only what stands above it
    assert names.index("K8S_JOB_UID") < names.index("MLP_JOB_DEFAULT_RUN_ID")
    assert env["MLP_JOB_TERMINATION_LOG"]["value"] == container["terminationMessagePath"]
    # the longest names that Kubernetes allows still make a valid run id and attempt
    Config.of(default_run_id="j" * 63 + "-" + "0" * 36, attempt="j" * 63 + "-x7b9z")


@each_overlay
def test_every_variable_is_an_options(folder: Path) -> None:
    manifests = render(folder)
    names = {variable["name"] for variable in train_container(manifests)["env"]}
    names |= find(manifests, "ConfigMap", "mlp-job")["data"].keys()
    assert {name for name in names if name.startswith("MLP_JOB_")} <= VARIABLES
    for name in names:
        assert name.startswith(("MLP_JOB_", "AWS_", "K8S_JOB_", "S3_SERVICE")), name


@pytest.mark.parametrize("path", sorted(K8S.rglob("train.env")), ids=lambda path: path.parent.name)
def test_every_key_in_train_env_is_an_options_variable(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    keys = [line.split("=", 1)[0] for line in lines]
    assert keys
    assert set(keys) <= VARIABLES
    assert len(keys) == len(set(keys))


@each_overlay
def test_a_gpu_everywhere_but_without_one(folder: Path) -> None:
    container = train_container(render(folder))
    limits = container["resources"]["limits"]
    assert limits.get("nvidia.com/gpu") == (None if folder.name == "local" else 1)
    tolerated = {
        t["key"] for t in job_template(render(folder))["spec"]["template"]["spec"]["tolerations"]
    }
    assert ("nvidia.com/gpu" in tolerated) == ("nvidia.com/gpu" in limits)


@pytest.mark.parametrize("name", COMPONENTS)
def test_only_the_cpu_component_takes_the_gpu_away(name: str) -> None:
    limits = train_container(render_components((name,)))["resources"]["limits"]
    assert ("nvidia.com/gpu" in limits) == (name != "cpu")


@pytest.mark.parametrize("name", ["local", "production"])
def test_every_container_may_run_under_a_quota_on_cpu(name: str, tmp_path: Path) -> None:
    patch = K8S / "patches" / "cpu-limits"
    limited = write_overlay(tmp_path / "limited", [K8S / "overlays" / name], [str(patch)])
    for template in pod_templates(render(limited)):
        spec = template["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert "cpu" in container["resources"]["limits"], container["name"]


@each_overlay
def test_memory_has_room_for_the_tmpfs(folder: Path) -> None:
    container = train_container(render(folder))
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    volumes = job_template(render(folder))["spec"]["template"]["spec"]["volumes"]
    tmpfs = sum(
        quantity(volume["emptyDir"]["sizeLimit"])
        for volume in volumes
        if volume["emptyDir"].get("medium") == "Memory"
    )
    assert tmpfs
    assert requests["memory"] == limits["memory"]  # no node is promised what it may not have
    assert quantity(limits["memory"]) - tmpfs >= 2**30  # a run on MNIST takes 0.7 GB


def test_secrets_only_where_asked_for() -> None:
    for folder in EVERY:
        manifests = render(folder)
        sources = train_container(manifests)["envFrom"]
        secrets = [source["secretRef"] for source in sources if "secretRef" in source]
        assert bool(secrets) == (folder.name == "local")
        assert all(secret["optional"] is True for secret in secrets)
        assert any(m["kind"] == "Secret" for m in manifests) == (folder.name == "local")
    # the user's own Secret keeps the name that the user gave it
    sources = train_container(render_components(("s3-keys",)))["envFrom"]
    assert {"secretRef": {"name": "s3-keys", "optional": True}} in sources


def test_images_are_pinned() -> None:
    for folder in EVERY:
        for line in yaml.safe_dump_all(render(folder)).splitlines():
            if line.strip().startswith(("image:", "- image:")):
                assert re.search(r":[^/:]+$", line.split("image: ")[1]), line
                assert not line.endswith(":latest")


def test_the_version_is_that_of_the_package_and_no_label_contradicts_the_image() -> None:
    manifests = render(BASE)
    assert train_container(manifests)["image"] == f"mlp-job:{job.__version__}"
    assert "app.kubernetes.io/version" not in find_labels(manifests)


@each_overlay
def test_a_queue_needs_quota_for_cpu_memory_and_gpus_only(folder: Path) -> None:
    """Kueue admits a Job only to a queue that covers every resource it requests."""
    resources = train_container(render(folder))["resources"]
    asked = resources["requests"].keys() | resources["limits"].keys()
    assert asked <= {"cpu", "memory", "nvidia.com/gpu"}


def test_spot_and_kueue() -> None:
    spot = find(render_components(("spot",)), "Job")["spec"]["template"]["spec"]
    keys = {toleration["key"] for toleration in spot["tolerations"]}
    assert keys == {
        "nvidia.com/gpu",
        "cloud.google.com/gke-spot",
        "kubernetes.azure.com/scalesetpriority",
    }
    assert spot["terminationGracePeriodSeconds"] == 15
    assert spot["affinity"]["nodeAffinity"]
    kueue = find(render_components(("kueue",)), "Job")
    assert "suspend" not in kueue["spec"]  # applied again, it would stop a running pod
    assert kueue["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    pod_labels = kueue["spec"]["template"]["metadata"]["labels"]
    assert "kueue.x-k8s.io/queue-name" not in pod_labels  # Kueue would queue the pod once more


def test_scratch_is_a_volume_that_the_job_may_write() -> None:
    spec = find(render_components(("scratch",)), "Job")["spec"]["template"]["spec"]
    [volume] = spec["volumes"]
    assert volume["name"] == "tmp"
    claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert quantity(claim["resources"]["requests"]["storage"]) >= 2**36
    assert spec["securityContext"]["fsGroup"]
    mounts = spec["containers"][0]["volumeMounts"]
    assert {"name": "tmp", "mountPath": "/tmp"} in mounts


def test_the_readme_says_what_the_failure_policy_does() -> None:
    """The table of exit codes in job/commands/README.md has the rules of errors.py."""
    readme = (K8S.parent / "job/commands/README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| \S+ \| .+ \| (\w+|–) \|$", readme, re.MULTILINE)
    rules = {each.exit_code: each.rule or "–" for each in errors.JobError.__subclasses__()}
    assert {int(code): rule for code, rule in rows} == {0: "–", A_BUG: "Count", **rules}
