"""The manifests as `kubectl kustomize` renders them, and the pods in them."""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).resolve().parents[2] / "k8s"
BASE = K8S / "base"
COMPONENTS = sorted(folder.name for folder in (K8S / "components").iterdir())
OVERLAYS = sorted(folder.name for folder in (K8S / "overlays").iterdir())

Manifest = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl renders the manifests, and there is none"
)


@functools.cache
def render(folder: Path) -> list[Manifest]:
    """What `kubectl apply -k folder` would send. Do not change it: the next test gets the same."""
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise ValueError(f"kubectl kustomize {folder}: {done.stderr}")
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def render_components(names: tuple[str, ...]) -> list[Manifest]:
    """The base with these components, in this order; `schedule` wraps the others."""
    with tempfile.TemporaryDirectory() as folder:
        inner, outer = Path(folder).resolve() / "inner", Path(folder).resolve() / "outer"
        write_overlay(inner, [BASE], [n for n in names if n != "schedule"])
        if "schedule" not in names:
            return render(inner)
        write_overlay(outer, [inner], ["schedule"])
        return render(outer)


def write_overlay(
    folder: Path, resources: Iterable[Path], components: Iterable[str], **fields: Any
) -> Path:
    """Writes an overlay as a user would; `fields` go into its kustomization as they are."""
    folder.mkdir(parents=True)
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(path, folder) for path in resources],
        "components": [os.path.relpath(K8S / "components" / n, folder) for n in components],
        **fields,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


def find(manifests: Iterable[Manifest], kind: str, prefix: str = "") -> Manifest:
    """The one manifest of a kind whose name starts with a prefix."""
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].startswith(prefix)]
    assert len(found) == 1, [m["metadata"]["name"] for m in found]
    return found[0]


def job_template(manifests: Iterable[Manifest]) -> Manifest:
    """`metadata` and `spec` of the Job, or of the Jobs that the CronJob will create."""
    for manifest in manifests:
        if manifest["kind"] == "Job":
            return manifest
        if manifest["kind"] == "CronJob":
            template: Manifest = manifest["spec"]["jobTemplate"]
            return template
    raise AssertionError("neither a Job nor a CronJob")


def pod_templates(manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    """Every pod template, of whatever kind of workload."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        for holder in (spec, spec.get("jobTemplate", {}).get("spec", {})):
            if "template" in holder:
                yield holder["template"]


def train_container(manifests: Iterable[Manifest]) -> Manifest:
    """The container that runs `mlp-job train`."""
    containers = job_template(manifests)["spec"]["template"]["spec"]["containers"]
    assert [container["name"] for container in containers] == ["train"]
    container: Manifest = containers[0]
    return container


def quantity(text: str | int) -> int:
    """Bytes, or pieces, of a Kubernetes quantity in binary units."""
    text = str(text)
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(text[:-2]) * units[text[-2:]] if text[-2:] in units else int(text)
