"""Environment variables of this program that no option has: most likely a typing error."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from job.errors import UsageError

PREFIX = "MLP_JOB_"

SERVICE_LINK = re.compile(
    PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT"
    r"|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
"""What Kubernetes sets for a Service called mlp-job, or mlp-job-something, in every pod."""


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
