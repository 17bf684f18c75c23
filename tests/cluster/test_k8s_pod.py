"""The pod really runs: the rendered containers, in the Docker engine, against SeaweedFS."""

import base64
import contextlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import docker
from k8s_docker import Node, Pod
from k8s_render import (
    BASE,
    K8S,
    Manifest,
    find,
    job_template,
    needs_kubectl,
    render,
    train_container,
    write_overlay,
)
from seaweed import SeaweedFS

from job.errors import JobError

pytestmark = [
    needs_kubectl,
    pytest.mark.timeout(1800),  # whichever test comes first builds the image
]


class Cluster:
    """Creates the pods of a Job as its controller does, with the options that a test adds."""

    def __init__(self, image: str, s3: SeaweedFS, folder: Path):
        self.image, self.s3, self.folder = image, s3, folder
        self.prefix = f"s3://{s3.bucket}/{uuid.uuid4().hex}"
        self.pods: list[Pod] = []

    def render(self, **options: str) -> list[Manifest]:
        """base + cpu + s3-keys, for the test's own store."""
        literals = {
            "AWS_ENDPOINT_URL_S3": self.s3.endpoint,
            "MLP_JOB_STORE": self.prefix,
            "MLP_JOB_EPOCHS": "1",
            **options,
        }
        return render(
            write_overlay(
                self.folder / f"overlay-{uuid.uuid4().hex}",
                [BASE],
                ["cpu", "s3-keys"],
                configMapGenerator=[
                    {
                        "name": "mlp-job",
                        "behavior": "merge",
                        "literals": [f"{name}={value}" for name, value in literals.items()],
                    }
                ],
            )
        )

    def pod(
        self, manifests: list[Manifest], *, uid: str = "", tmp: str = "", secret: bool = True
    ) -> Pod:
        """The next pod of the Job with this uid; a new Job's first one by default."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        keys = {name: self.s3.env[name] for name in names}
        secrets = [{"kind": "Secret", "metadata": {"name": "s3-keys"}, "stringData": keys}]
        template = json.loads(json.dumps(job_template(manifests)["spec"]["template"]))
        if tmp:
            template["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] = tmp
        node = Node(
            objects=[*manifests, *(secrets if secret else [])],
            images={template["spec"]["containers"][0]["image"]: self.image},
            network="host",
            folder=self.folder,
        )
        labels = {
            "batch.kubernetes.io/job-name": "mlp-job",
            "batch.kubernetes.io/controller-uid": uid or str(uuid.uuid4()),
        }
        pod = Pod(node, template, f"mlp-job-{uuid.uuid4().hex[:5]}", labels=labels)
        self.pods.append(pod)
        return pod

    def read(self, key: str) -> Any:
        """A JSON object of the store, read with plain boto3."""
        bucket, prefix = self.prefix.removeprefix("s3://").split("/", 1)
        body = self.s3.client().get_object(Bucket=bucket, Key=f"{prefix}/{key}")["Body"]
        return json.load(body)

    def names(self) -> list[str]:
        bucket, prefix = self.prefix.removeprefix("s3://").split("/", 1)
        found = self.s3.client().list_objects_v2(Bucket=bucket, Prefix=prefix + "/")
        return [each["Key"].removeprefix(prefix + "/") for each in found.get("Contents", [])]


@pytest.fixture
def cluster(image: str, s3: SeaweedFS, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(image, s3, tmp_path)
    yield cluster
    for pod in cluster.pods:
        pod.remove()


def action(manifests: list[Manifest], code: int) -> str:
    """What the Job controller does with a pod that ended so, and was not disrupted."""
    policy = job_template(manifests)["spec"]["podFailurePolicy"]
    for rule in policy["rules"]:
        if code in rule.get("onExitCodes", {}).get("values", []):
            result: str = rule["action"]
            return result
    return "Count"


def test_to_a_published_model_and_once_only(cluster: Cluster) -> None:
    manifests, uid = cluster.render(), str(uuid.uuid4())
    first = cluster.pod(manifests, uid=uid)
    first.start()
    assert first.wait() == 0, first.logs()
    assert first.message["exit_code"] == 0
    pointer = cluster.read("mnist/champion.json")
    version = pointer["version"]
    manifest = cluster.read(f"mnist/versions/{version}/manifest.json")
    assert f"mlp-job-{uid}" in json.dumps(manifest)  # the Job's name and uid are the run's id
    assert manifest["attempt"].startswith(f"{first.name}-")
    assert f"mnist/versions/{version}/{manifest['attempt']}/model.keras" in cluster.names()

    # another pod of the same Job finds the work done
    published = cluster.names()
    second = cluster.pod(manifests, uid=uid)
    second.start()
    assert second.wait() == 0, second.logs()
    assert cluster.read("mnist/champion.json") == pointer
    assert cluster.names() == published


ENDS = [
    (2, {"MLP_JOB_EPOCHS": "many"}),
    (3, {"MLP_JOB_MIN_ACCURACY": "1"}),
    (65, {"MLP_JOB_DATA": "{prefix}/torn.npz", "MLP_JOB_NAME": "mine"}),
    (66, {"MLP_JOB_DATA": "{prefix}/missing.npz", "MLP_JOB_NAME": "mine"}),
    (69, {"MLP_JOB_DEVICE": "gpu"}),
    (70, {"MLP_JOB_LEARNING_RATE": "1e30"}),
    (74, {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "MLP_JOB_STORE_TIMEOUT": "2"}),
    (77, {"MLP_JOB_STORE": "s3://no-such-bucket"}),
]


@pytest.mark.parametrize(("code", "options"), ENDS, ids=[code for code, _ in ENDS])
def test_ends_that_the_policy_knows(cluster: Cluster, code: int, options: dict[str, str]) -> None:
    bucket, prefix = cluster.prefix.removeprefix("s3://").split("/", 1)
    cluster.s3.client().put_object(Bucket=bucket, Key=f"{prefix}/torn.npz", Body=b"PK\3\4torn")
    manifests = cluster.render(
        **{name: value.format(prefix=cluster.prefix) for name, value in options.items()}
    )
    pod = cluster.pod(manifests)
    pod.start()
    assert pod.wait() == code, pod.logs()
    message = pod.message
    (error,) = [each for each in JobError.__subclasses__() if each.exit_code == code]
    assert (message["exit_code"], message["error"]) == (code, error.__name__)
    assert message["message"]
    assert action(manifests, code) == error.rule
    assert "mnist/champion.json" not in cluster.names()


def test_a_missing_secret_ends_at_once_with_the_reason(cluster: Cluster) -> None:
    pod = cluster.pod(cluster.render(), secret=False)
    pod.start()
    assert pod.wait() == 77, pod.logs()
    assert "credentials" in pod.message["message"]


def test_a_full_tmpfs_is_an_end_with_a_reason_and_no_eviction(cluster: Cluster) -> None:
    pod = cluster.pod(cluster.render(), tmp="1Mi")
    pod.start()
    assert pod.wait() == 74, pod.logs()
    assert pod.message["error"] == "StoreError"


def test_deleted_in_mid_training(cluster: Cluster) -> None:
    manifests = cluster.render(MLP_JOB_EPOCHS="1000")
    pod = cluster.pod(manifests)
    pod.start()
    wait_for(lambda: "epoch.ended" in pod.logs())
    assert pod.stop() == 143, pod.logs()
    assert pod.message["error"] == "Preempted"
    assert action(manifests, 143) == "Ignore"


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


WGET = """#!/usr/bin/env python3
# in place of busybox's, which the image of the real server has
import sys, urllib.request
assert sys.argv[1:-1] == ["-q", "-T", "2", "-O", "/dev/null"], sys.argv
try:
    urllib.request.urlopen(sys.argv[-1], timeout=2)
except OSError:
    sys.exit(1)
"""


@contextlib.contextmanager
def node(manifests: list[Manifest], image: str, tmp_path: Path) -> Iterator[Node]:
    """A node with a network of its own, for manifests with a store in the cluster."""
    wget = tmp_path / "wget"
    wget.write_text(WGET)
    wget.chmod(0o755)
    secret = find(manifests, "Secret")
    decoded = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    network = f"mlp-job-{uuid.uuid4().hex[:8]}"
    docker("network", "create", network)
    folder = tmp_path / "node"
    folder.mkdir()
    try:
        yield Node(
            objects=[find(manifests, "ConfigMap"), {**secret, "stringData": decoded}],
            images={
                train_container(manifests)["image"]: image,
                "docker.io/chrislusf/seaweedfs:4.48": image,
            },
            network=network,
            folder=folder,
            mounts={"/usr/bin/weed": Path(sys.executable).with_name("weed"), "/usr/bin/wget": wget},
        )
    finally:
        docker("network", "rm", network)


def store(node: Node, manifests: list[Manifest]) -> Pod:
    template = find(manifests, "Deployment")["spec"]["template"]
    service = find(manifests, "Service", "seaweedfs")["metadata"]["name"]
    return Pod(node, template, "seaweedfs-0", alias=service)


@pytest.fixture
def laptop(image: str, tmp_path: Path) -> Iterator[Node]:
    with node(render(K8S / "overlays" / "local"), image, tmp_path) as made:
        yield made


def test_the_local_overlay_from_nothing_to_a_published_model(laptop: Node) -> None:
    """Both pods start at once, as after one apply; the server is the one that is late."""
    manifests = render(K8S / "overlays" / "local")
    server = store(laptop, manifests)
    train = Pod(
        laptop,
        find(manifests, "Job")["spec"]["template"],
        "mlp-job-x7b9z",
        labels={
            "batch.kubernetes.io/job-name": "mlp-job",
            "batch.kubernetes.io/controller-uid": str(uuid.uuid4()),
        },
    )
    with contextlib.ExitStack() as stack:
        stack.callback(train.remove)
        stack.callback(server.remove)
        waiting = train.start("initContainers")
        time.sleep(1)
        assert docker("inspect", "--format", "{{.State.Running}}", waiting).stdout == "true\n"
        server.start()
        assert train.wait() == 0
        train.start()
        assert train.wait(timeout=200) == 0, train.logs()
    assert train.message["exit_code"] == 0
    assert train.message["version"] == 1


def test_the_multi_host_overlay_survives_the_loss_of_a_pod(image: str, tmp_path: Path) -> None:
    """As it is rendered, on processors, with a store in the cluster: killed, resumed, published."""
    options = ("STORE=s3://models", "MIN_ACCURACY=", "EPOCHS=3", "CHECKPOINT_EVERY=0")
    merged = {
        "name": "mlp-job",
        "behavior": "merge",
        "literals": [f"MLP_JOB_{option}" for option in options],
    }
    manifests = render(
        write_overlay(
            tmp_path.resolve() / "overlay",
            [K8S / "overlays" / "multi-host"],
            ["cpu", "s3-keys", "seaweedfs"],
            configMapGenerator=[merged],
        )
    )
    spec, uid = find(manifests, "Job")["spec"], str(uuid.uuid4())
    with node(manifests, image, tmp_path) as place, contextlib.ExitStack() as stack:

        def started(attempt: str) -> list[Pod]:
            pods = []
            for number in range(spec["completions"]):
                labels = {
                    "batch.kubernetes.io/job-name": "mlp-job",
                    "batch.kubernetes.io/controller-uid": uid,
                    "batch.kubernetes.io/job-completion-index": str(number),
                }
                name = f"mlp-job-{number}-{attempt}"
                pods.append(Pod(place, spec["template"], name, labels=labels))
                stack.callback(pods[-1].remove)
            for kind in ("initContainers", "containers"):
                for pod in pods:
                    pod.start(kind)
                for pod in pods if kind == "initContainers" else ():
                    assert pod.wait() == 0, pod.logs()
            return pods

        server = store(place, manifests)
        stack.callback(server.remove)
        server.start()
        first, second = started("x7b9z")
        wait_for(lambda: '"checkpoint.saved"' in first.logs())
        second.kill()
        assert first.wait() == 75, first.logs()
        assert first.message["error"] == "PeerLost"
        ends = started("k2c4d")
        assert [pod.wait(timeout=300) for pod in ends] == [0, 0], ends[0].logs()
        assert '"run.resumed"' in ends[0].logs()
        assert ends[0].message["version"] == 1
        assert ends[1].message["outcome"] == "followed"
