"""What surrounds the process: environment variables that no option has, and limits of memory."""

import re
import resource
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from job.errors import DeviceOutOfMemory, UsageError

PREFIX = "MLP_JOB_"

SERVICE_LINK = re.compile(
    PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT"
    r"|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
"""What Kubernetes sets for a Service called mlp-job, or mlp-job-something, in every pod."""

LEAST = {"-d": (resource.RLIMIT_DATA, 256 << 20), "-v": (resource.RLIMIT_AS, 1 << 30)}
"""Of `ulimit`: what NumPy and Arrow need to be imported; with less they abort the process, or
wait for ever."""


def expect_memory() -> None:
    """Expects the limits of the process to leave room for the libraries.

    Raises:
        DeviceOutOfMemory: They do not.
    """
    for option, (kind, least) in LEAST.items():
        limit, _ = resource.getrlimit(kind)
        if resource.RLIM_INFINITY != limit < least:
            raise DeviceOutOfMemory(
                f"Memory: expected `ulimit {option}` of at least {least >> 20} MiB. "
                f"Received: {limit >> 20} MiB.",
                hint=f"Raise it, as in `ulimit {option} {least >> 10}`; training takes about 1 GiB "
                "more.",
            )


def check(environment: Mapping[str, str], known: Iterable[str]) -> None:
    """Expects every variable that begins with MLP_JOB_ to be an option's.

    An empty variable counts as unset; those that service links make are ignored.

    Args:
        environment: Name → value.
        known: The variables of all options of all commands.

    Raises:
        UsageError: There are others.
    """
    options = set(known)
    unknown = sorted(
        name
        for name, value in environment.items()
        if name.startswith(PREFIX)
        and value
        and name not in options
        and not SERVICE_LINK.fullmatch(name)
    )
    if unknown:
        near = {found: None for name in unknown for found in get_close_matches(name, options, n=1)}
        raise UsageError(
            f"Expected variables that begin with {PREFIX} to be options. "
            f"Received: {', '.join(unknown)}.",
            hint=(f"Did you mean {', '.join(near)}? " if near else "")
            + "`mlp-job COMMAND --help` lists the options; unset a variable that is none.",
        )
