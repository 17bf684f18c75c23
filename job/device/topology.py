"""topology: the hosts that train together, and which of them this is."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from job.config.training import TrainingOptions
from job.errors import UsageError

INDEX = "{index}"
"""What stands for a host's number in `--peer-address`."""

PORT = 2222
"""Where TensorFlow of each host listens, unless the address says otherwise."""

ADDRESS = re.compile(r"(?P<host>[^\s/:\[\]]+|\[[^\s/\[\]]+\])(:(?P<port>[0-9]{1,5}))?")
"""NAME or NAME:PORT; an address of IPv6 stands in brackets."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Hosts that train together.

    Attributes:
        index: This host's number; 0 is the one that publishes.
        addresses: HOST:PORT of each, where TensorFlow listens.
    """

    index: int
    addresses: tuple[str, ...]

    @property
    def meeting(self) -> tuple[str, int]:
        """Host and port where worker 0 hears the others: the next port that no worker has."""
        host, port = _divided(self.addresses[0])
        taken = {_divided(address)[1] for address in self.addresses}
        return host.strip("[]"), next(
            free for free in range(port + 1, port + 1000) if free not in taken
        )

    @property
    def port(self) -> int:
        """Where TensorFlow of this host listens."""
        return _divided(self.addresses[self.index])[1]


def topology(options: TrainingOptions, environment: Mapping[str, str]) -> Topology | None:
    """The hosts by TF_CONFIG, or else by `--hosts` and Kubernetes' JOB_COMPLETION_INDEX.

    Returns:
        None for one host.

    Raises:
        UsageError: They are not known, or contradict each other.
    """
    found = _of_tensorflow(environment.get("TF_CONFIG") or "{}")
    if found is None:
        return _of_kubernetes(options, environment) if (options.hosts or 1) > 1 else None
    if len({*found.addresses}) < len(found.addresses):
        raise UsageError(
            "TF_CONFIG: expected an address of its own for each worker. "
            f"Received: {', '.join(found.addresses)}.",
            hint="Workers on one host need different ports.",
        )
    if options.hosts not in (None, len(found.addresses)):
        raise UsageError(
            f"--hosts: expected {len(found.addresses)}, as in TF_CONFIG. "
            f"Received: {options.hosts}.",
            hint="Leave --hosts out where TF_CONFIG names the workers.",
        )
    return found


def _of_kubernetes(options: TrainingOptions, environment: Mapping[str, str]) -> Topology:
    hosts, address = options.hosts or 1, options.peer_address
    if address is None:
        raise UsageError(
            f"--peer-address: expected the address of each of {hosts} hosts, with {INDEX} in "
            "place of its number. Received: none, and no TF_CONFIG.",
            hint=f"For example --peer-address 'mlp-job-{INDEX}.mlp-job-peers'.",
        )
    addresses = tuple(_with_port(address.replace(INDEX, str(each))) for each in range(hosts))
    return Topology(index=completion_index(hosts, environment), addresses=addresses)


def completion_index(hosts: int, environment: Mapping[str, str]) -> int:
    """The number of this pod of Kubernetes' Indexed Job.

    Raises:
        UsageError: There is none, or it is not one of so many hosts.
    """
    number = environment.get("JOB_COMPLETION_INDEX", "")
    if not (number.isascii() and number.isdigit() and int(number) < hosts):
        raise UsageError(
            f"JOB_COMPLETION_INDEX: expected this host's number, from 0 to {hosts - 1}. "
            f"Received: {number!r}.",
            hint="An Indexed Job of Kubernetes with as many completions as --hosts sets it.",
        )
    return int(number)


def _of_tensorflow(text: str) -> Topology | None:
    """What TF_CONFIG says; a chief is worker 0."""
    try:
        config: Any = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        chief, workers = cluster.get("chief", []), cluster.get("worker", [])
        if not isinstance(chief, list) or not isinstance(workers, list):
            raise TypeError("chief and worker are lists of addresses")  # noqa: TRY301
        addresses = tuple(_with_port(each) for each in chief + workers)
        if len(addresses) < 2 and task.get("type", "worker") in ("chief", "worker"):
            return None
        own = {"chief": range(len(chief)), "worker": range(len(chief), len(addresses))}
        numbers = own[task["type"]]
        index = numbers.start + range(len(numbers)).index(int(task["index"]))
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise UsageError(
            "TF_CONFIG: expected JSON with a cluster of workers, and the type and index of one as "
            f"its task. Received: {type(exc).__name__}: {exc}.",
            hint="Mend it, or unset it to train on one host.",
        ) from exc
    return Topology(index=index, addresses=addresses)


def _with_port(address: str) -> str:
    found = ADDRESS.fullmatch(address)
    if not found or not 0 < int(found["port"] or PORT) < 65_000:
        raise UsageError(
            f"Expected the address of a host as NAME or NAME:PORT. Received: {address!r}.",
            hint="Change --peer-address or TF_CONFIG.",
        )
    return address if found["port"] else f"{address}:{PORT}"


def _divided(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
