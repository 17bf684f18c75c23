"""A kubelet made of `docker run`: it starts a rendered pod's containers as they are specified."""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from containers import docker
from k8s_render import Manifest, quantity

Spec = dict[str, Any]

INDEXED = ("job-name", "job-completion-index")
"""Labels of the pods of an Indexed Job."""

MESSAGE_BYTES = 4096
"""What the kubelet keeps of a termination message."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """Where pods run.

    Attributes:
        objects: The cluster's ConfigMaps and Secrets.
        images: The image on this machine that stands for one in a manifest.
        network: The engine's network that the pods share.
        folder: Host side of disk-backed emptyDirs and termination messages; empty at first.
        mounts: Files of this machine that an image here lacks: path in the container → path.
    """

    objects: Iterable[Manifest]
    images: Mapping[str, str]
    network: str
    folder: Path
    mounts: Mapping[str, Path] = dataclasses.field(default_factory=dict)


class Pod:
    """One pod of a pod template, with one container running at a time.

    Args:
        node: Where it runs.
        template: `metadata` and `spec` of the pod, as rendered.
        name: The pod's name.
        labels: What the Job controller adds to the template's labels.
        alias: The Service that leads to the pod.
    """

    def __init__(
        self,
        node: Node,
        template: Spec,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        alias: str = "",
    ):
        self.node, self.spec, self.name, self.alias = node, template["spec"], name, alias
        self.labels = {**template["metadata"]["labels"], **(labels or {})}
        self.folder = node.folder / name
        self.folder.mkdir()
        self._started: list[str] = []

    def start(self, kind: str = "containers") -> str:
        """Starts the only container (or init container); returns its id for the engine."""
        (container,) = self.spec[kind]
        self._check_user(container)
        started = docker("run", "--detach", *self._options(container), *self._command(container))
        self._started.append(started.stdout.strip())
        return self._started[-1]

    def wait(self, timeout: float = 120) -> int:
        """The exit code of the container that was started last."""
        return int(docker("wait", self._started[-1], timeout=timeout).stdout)

    def stop(self) -> int:
        """Deletes the pod: SIGTERM, then SIGKILL after the grace period. Returns the exit code."""
        grace = self.spec.get("terminationGracePeriodSeconds", 30)
        docker("stop", "--time", str(grace), self._started[-1], timeout=grace + 30)
        return self.wait()

    def kill(self) -> None:
        """Ends the pod at once, as the loss of its node does."""
        docker("kill", self._started[-1])

    def logs(self) -> str:
        """Standard output and error of the container that was started last."""
        logs = docker("logs", self._started[-1])
        return logs.stdout + logs.stderr

    @property
    def message(self) -> dict[str, Any]:
        """The termination message: one JSON object of at most 4 KB."""
        body = (self.folder / "termination-log").read_bytes()
        assert len(body) <= MESSAGE_BYTES
        result: dict[str, Any] = json.loads(body)
        return result

    def remove(self) -> None:
        for identity in self._started:
            docker("rm", "--force", "--volumes", identity)

    def _check_user(self, container: Spec) -> None:
        """The kubelet's rule: with runAsNonRoot the user is a number, and not 0."""
        context = {**self.spec["securityContext"], **container["securityContext"]}
        if context.get("runAsNonRoot") and "runAsUser" not in context:
            image = self.node.images[container["image"]]
            user = docker("image", "inspect", "--format", "{{.Config.User}}", image).stdout.strip()
            assert re.fullmatch(r"[1-9]\d*(:\d+)?", user), f"{image} runs as {user!r}"

    def _options(self, container: Spec) -> Iterator[str]:
        context = {**self.spec["securityContext"], **container["securityContext"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}  # which is docker's own
        yield f"--network={self.node.network}"
        if self.alias:
            yield f"--network-alias={self.alias}"
        if "subdomain" in self.spec:  # of an Indexed Job's pod, whose hostname is the first part
            job, number = (self.labels[f"batch.kubernetes.io/{n}"] for n in INDEXED)
            yield f"--network-alias={job}-{number}.{self.spec['subdomain']}"
            yield f"--env=JOB_COMPLETION_INDEX={number}"
        if context["readOnlyRootFilesystem"]:
            yield "--read-only"
        if context["allowPrivilegeEscalation"] is False:
            yield "--security-opt=no-new-privileges"
        for capability in context["capabilities"]["drop"]:
            yield f"--cap-drop={capability}"
        if "runAsUser" in context:
            yield f"--user={context['runAsUser']}:{context['runAsGroup']}"
        limits = container["resources"]["limits"]
        assert "nvidia.com/gpu" not in limits, "this engine has no GPU to give"
        yield f"--memory={quantity(limits['memory'])}"
        for name, value in self._environment(container).items():
            yield f"--env={name}={value}"
        yield from self._mounts(container)

    def _mounts(self, container: Spec) -> Iterator[str]:
        volumes = {volume["name"]: volume["emptyDir"] for volume in self.spec.get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            volume, path = volumes[mount["name"]], mount["mountPath"]
            if volume.get("medium") == "Memory":
                yield f"--tmpfs={path}:rw,exec,mode=777,size={quantity(volume['sizeLimit'])}"
            else:
                host = self.folder / mount["name"]
                host.mkdir(exist_ok=True)
                host.chmod(0o777)
                yield f"--volume={host}:{path}"
        log = self.folder / "termination-log"
        log.touch()
        log.chmod(0o666)
        yield f"--volume={log}:{container.get('terminationMessagePath', '/dev/termination-log')}"
        for path, host in self.node.mounts.items():
            yield f"--volume={host}:{path}:ro"

    def _environment(self, container: Spec) -> dict[str, str]:
        """Variables in the kubelet's order: envFrom, then env, which sees what stands above it."""
        environment: dict[str, str] = {}
        for source in container.get("envFrom", []):
            environment |= self._source(source)
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                value = self._field(variable["valueFrom"]["fieldRef"]["fieldPath"])
            else:
                value = re.sub(
                    r"\$\((\w+)\)",
                    lambda match: environment.get(match[1], match[0]),
                    variable["value"],
                )
            environment[variable["name"]] = value
        return environment

    def _source(self, source: Spec) -> dict[str, str]:
        kind, reference = next(iter(source.items()))
        for each in self.node.objects:
            if [each["kind"] + "Ref", each["metadata"]["name"]] == [
                kind[0].upper() + kind[1:],
                reference["name"],
            ]:
                data: dict[str, str] = each.get("stringData") or each["data"]
                return data
        assert reference.get("optional"), f"CreateContainerConfigError: no {kind} {reference}"
        return {}

    def _field(self, path: str) -> str:
        if path == "metadata.name":
            return self.name
        match = re.fullmatch(r"metadata\.labels\['(.+)'\]", path)
        assert match, path
        return self.labels[match[1]]

    def _command(self, container: Spec) -> list[str]:
        command, arguments = container.get("command", []), container.get("args", [])
        image = self.node.images[container["image"]]
        entrypoint = [f"--entrypoint={command[0]}"] if command else []
        return [*entrypoint, image, *command[1:], *arguments]
