"""The Pod Security Standards' "restricted" profile (with "baseline", which it contains).

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/, one function a
control, under the control's own name. The Windows control is the last of "baseline"; AppArmor,
SELinux and procMount are fields that a Linux pod may leave out.
"""

from collections.abc import Callable, Iterator
from typing import Any

Spec = dict[str, Any]
Control = Callable[[Spec], bool]

CONTROLS: dict[str, Control] = {}
"""The controls by name: True when a pod template keeps to one."""

VOLUME_TYPES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
PROFILES = {"RuntimeDefault", "Localhost"}


def violations(template: Spec) -> list[str]:
    """The controls that a pod template breaks."""
    return [name for name, keeps in CONTROLS.items() if not keeps(template)]


def control(name: str) -> Callable[[Control], Control]:
    def register(check: Control) -> Control:
        CONTROLS[name] = check
        return check

    return register


def containers(template: Spec) -> Iterator[Spec]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from template["spec"].get(kind, [])


def contexts(template: Spec) -> list[Spec]:
    """The security contexts of the containers."""
    return [container.get("securityContext", {}) for container in containers(template)]


def pod_context(template: Spec) -> Spec:
    context: Spec = template["spec"].get("securityContext", {})
    return context


def inherited(template: Spec, field: str) -> list[Any]:
    """A field's value for each container: its own, or else the pod's."""
    default = pod_context(template).get(field)
    return [context.get(field, default) for context in contexts(template)]


@control("Host Namespaces")
def host_namespaces(template: Spec) -> bool:
    return not any(template["spec"].get(f) for f in ("hostNetwork", "hostPID", "hostIPC"))


@control("Privileged Containers")
def privileged_containers(template: Spec) -> bool:
    return not any(context.get("privileged") for context in contexts(template))


@control("HostProcess")
def host_process(template: Spec) -> bool:
    everyone = [pod_context(template), *contexts(template)]
    return not any(each.get("windowsOptions", {}).get("hostProcess") for each in everyone)


@control("Host Ports")
def host_ports(template: Spec) -> bool:
    return not any(p.get("hostPort") for c in containers(template) for p in c.get("ports", []))


@control("Host Probes / Lifecycle Hooks")
def host_probes(template: Spec) -> bool:
    handlers = [
        handler
        for container in containers(template)
        for handler in [
            *(container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup")),
            *container.get("lifecycle", {}).values(),
        ]
    ]
    return not any(h.get(via, {}).get("host") for h in handlers for via in ("httpGet", "tcpSocket"))


@control("AppArmor")
def app_armor(template: Spec) -> bool:
    everyone = [pod_context(template), *contexts(template)]
    types = [e["appArmorProfile"].get("type") for e in everyone if "appArmorProfile" in e]
    annotations = template.get("metadata", {}).get("annotations", {})
    return set(types) <= PROFILES and not any(
        key.startswith("container.apparmor.security.beta.kubernetes.io/")
        and value != "runtime/default"
        and not value.startswith("localhost/")
        for key, value in annotations.items()
    )


@control("SELinux")
def se_linux(template: Spec) -> bool:
    everyone = [pod_context(template), *contexts(template)]
    options = [each.get("seLinuxOptions", {}) for each in everyone]
    return all(
        o.get("type", "") in SELINUX_TYPES and not o.get("user") and not o.get("role")
        for o in options
    )


@control("/proc Mount Type")
def proc_mount(template: Spec) -> bool:
    return all(context.get("procMount", "Default") == "Default" for context in contexts(template))


@control("Sysctls")
def sysctls(template: Spec) -> bool:
    return {s["name"] for s in pod_context(template).get("sysctls", [])} <= SYSCTLS


@control("Volume Types")
def volume_types(template: Spec) -> bool:
    volumes = template["spec"].get("volumes", [])
    return {kind for volume in volumes for kind in volume if kind != "name"} <= VOLUME_TYPES


@control("Privilege Escalation")
def privilege_escalation(template: Spec) -> bool:
    return all(c.get("allowPrivilegeEscalation") is False for c in contexts(template))


@control("Running as Non-root")
def running_as_non_root(template: Spec) -> bool:
    return all(value is True for value in inherited(template, "runAsNonRoot"))


@control("Running as Non-root user")
def running_as_non_root_user(template: Spec) -> bool:
    return all(each.get("runAsUser") != 0 for each in [pod_context(template), *contexts(template)])


@control("Seccomp")
def seccomp(template: Spec) -> bool:
    return all((p or {}).get("type") in PROFILES for p in inherited(template, "seccompProfile"))


@control("Capabilities")
def capabilities(template: Spec) -> bool:
    sets = [context.get("capabilities", {}) for context in contexts(template)]
    return all(
        "ALL" in each.get("drop", []) and set(each.get("add", [])) <= {"NET_BIND_SERVICE"}
        for each in sets
    )
