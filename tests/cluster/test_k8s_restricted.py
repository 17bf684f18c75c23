"""Every pod is admitted under the "restricted" profile, and the checker knows a bad one."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from k8s_render import (
    K8S,
    OVERLAYS,
    find,
    needs_kubectl,
    pod_templates,
    render,
    render_components,
)
from k8s_restricted import CONTROLS, Spec, violations

CONTAINER: Spec = {
    "name": "main",
    "image": "example",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
GOOD: Spec = {
    "metadata": {},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [CONTAINER],
        "containers": [CONTAINER],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    },
}


def pod(**fields: Any) -> Callable[[Spec], None]:
    return lambda template: template["spec"].update(fields)


def pod_context(**fields: Any) -> Callable[[Spec], None]:
    return lambda template: template["spec"]["securityContext"].update(fields)


def container(**fields: Any) -> Callable[[Spec], None]:
    return lambda template: template["spec"]["containers"][0].update(fields)


def context(kind: str = "containers", **fields: Any) -> Callable[[Spec], None]:
    return lambda template: template["spec"][kind][0]["securityContext"].update(fields)


VIOLATIONS: list[tuple[str, Callable[[Spec], None]]] = [
    ("Host Namespaces", pod(hostNetwork=True)),
    ("Host Namespaces", pod(hostPID=True)),
    ("Host Namespaces", pod(hostIPC=True)),
    ("Privileged Containers", context(privileged=True)),
    ("HostProcess", pod_context(windowsOptions={"hostProcess": True})),
    ("Host Ports", container(ports=[{"containerPort": 80, "hostPort": 80}])),
    ("Host Probes / Lifecycle Hooks", container(livenessProbe={"tcpSocket": {"host": "10.0.0.1"}})),
    (
        "Host Probes / Lifecycle Hooks",
        container(lifecycle={"preStop": {"httpGet": {"host": "example.com"}}}),
    ),
    ("AppArmor", context(appArmorProfile={"type": "Unconfined"})),
    (
        "AppArmor",
        lambda t: t["metadata"].update(
            annotations={"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}
        ),
    ),
    ("SELinux", pod_context(seLinuxOptions={"type": "spc_t"})),
    ("SELinux", context(seLinuxOptions={"user": "system_u"})),
    ("/proc Mount Type", context(procMount="Unmasked")),
    ("Sysctls", pod_context(sysctls=[{"name": "kernel.msgmax", "value": "65536"}])),
    ("Volume Types", pod(volumes=[{"name": "docker", "hostPath": {"path": "/var/run"}}])),
    ("Volume Types", pod(volumes=[{"name": "share", "nfs": {"server": "nas", "path": "/"}}])),
    ("Privilege Escalation", context(allowPrivilegeEscalation=True)),
    ("Privilege Escalation", lambda t: t["spec"]["containers"][0].pop("securityContext")),
    ("Running as Non-root", pod_context(runAsNonRoot=False)),
    ("Running as Non-root", context("initContainers", runAsNonRoot=False)),
    ("Running as Non-root user", pod_context(runAsUser=0)),
    ("Running as Non-root user", context("initContainers", runAsUser=0)),
    ("Seccomp", pod_context(seccompProfile={"type": "Unconfined"})),
    ("Seccomp", lambda t: t["spec"]["securityContext"].pop("seccompProfile")),
    ("Seccomp", context(seccompProfile={"type": "Unconfined"})),
    ("Capabilities", context(capabilities={"drop": ["NET_RAW"]})),
    ("Capabilities", context("initContainers", capabilities={"drop": ["ALL"], "add": ["CHOWN"]})),
]


def test_a_good_pod_breaks_no_control() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize(("name", "spoil"), VIOLATIONS)
def test_a_bad_pod_is_caught(name: str, spoil: Callable[[Spec], Any]) -> None:
    bad = copy.deepcopy(GOOD)
    spoil(bad)
    assert name in violations(bad)


def test_every_control_was_seen_to_catch_something() -> None:
    assert {name for name, _ in VIOLATIONS} == set(CONTROLS)


@needs_kubectl
@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_keeps_to(overlay: str, name: str) -> None:
    templates = list(pod_templates(render(K8S / "overlays" / overlay)))
    assert templates
    for template in templates:
        assert CONTROLS[name](template)


@needs_kubectl
@pytest.mark.parametrize("names", [("cpu", "kueue", "s3-keys", "schedule", "seaweedfs", "spot")])
def test_components_keep_to_the_profile(names: tuple[str, ...]) -> None:
    for template in pod_templates(render_components(names)):
        assert violations(template) == []


@needs_kubectl
def test_more_than_the_profile_asks_for() -> None:
    """A read-only root, and no token of the Kubernetes API in any pod."""
    manifests = render_components(("s3-keys", "seaweedfs"))
    assert find(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    for template in pod_templates(manifests):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for each in [*spec.get("initContainers", []), *spec["containers"]]:
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
        for volume in spec["volumes"]:
            assert volume["emptyDir"]["sizeLimit"]
