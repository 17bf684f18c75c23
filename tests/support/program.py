"""The real command as a process, and what it leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("mlp-job")
QUICK = ("--epochs=3", "--hidden=16", "--batch-size=25", "--learning-rate=0.01", "--device=cpu")
"""Options of a job of some seconds."""


def mlp_job(*arguments, **environment):
    return subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | environment,
        check=False,
    )


def events(output):
    return [json.loads(line) for line in output.splitlines()]


def failure(done):
    """The last event of a command that failed, wherever it logs."""
    return events(done.stdout or done.stderr)[-1]


def version_folder(store, name, version=1):
    manifest = json.loads((store / name / f"versions/{version}/manifest.json").read_text())
    return store / name / f"versions/{version}" / manifest["attempt"], manifest
