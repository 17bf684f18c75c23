"""Runs the real job until it is killed, and looks at what is in the store from outside.

From outside: the command in a process of its own, plain boto3, plain hashing.
"""

import contextlib
import hashlib
import io
import json
import os
import secrets
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import churn
import h5py
import numpy as np
import proxy as proxies
import pyarrow.csv
import pyarrow.parquet
import seaweed
import tiny
from program import PROGRAM
from proxy import Fault, Proxy, Request

EVENT = "event.name"
OPTIONS = (
    "--epochs=12", "--hidden=64", "--batch-size=5", "--dropout=0.2", "--patience=10",
    "--device=cpu", "--checkpoint-every=0.1", "--margin=0.5",
)  # fmt: skip
TABLE_OPTIONS = (
    "--label=churned", "--exclude=household", "--epochs=12", "--hidden=16", "--members=3",
    "--batch-size=20", "--patience=4", "--device=cpu", "--no-xla", "--checkpoint-every=0.1",
    "--margin=0.5",
)  # fmt: skip
"""Three members of the network for tables, each of which stops on a fold of its own."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What is done to a process, once.

    Attributes:
        signal: SIGTERM or SIGKILL; SIGSTOP puts it to sleep; None sends none.
        event: It happens `delay` seconds after this event's `count`th occurrence,
        put: or at the first PUT of a key that ends so; "#7" is the seventh PUT of all; with an
            event as well, at the first one after it,
        method: which may be another method,
        count: and another one than the first,
        fault: and suffers this: CUT, nothing was written; SWALLOW, it was and nobody knows;
            STALL, no answer comes, to this request and to all that follow.
        meanwhile: Called with the process after the signal and before the PUT goes on.
    """

    signal: Signals | None = None
    event: str = ""
    count: int = 1
    delay: float = 0.0
    put: str = ""
    method: str = "PUT"
    fault: Fault = Fault.CUT
    meanwhile: Callable[[subprocess.Popen[str]], None] | None = None

    def __str__(self) -> str:
        where = self.put or f"{self.event}×{self.count}+{self.delay:.2f}s"
        return f"{self.signal and self.signal.name}, {where}, {self.fault.name}"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one process ended.

    Attributes:
        code: Its exit code; negative for a signal.
        events: What it logged.
        errors: Its standard error.
        said: Its termination message.
        seconds: From the first signal to the end.
    """

    code: int
    events: list[dict[str, Any]]
    errors: str
    said: dict[str, Any]
    seconds: float

    @property
    def message(self) -> str:
        """Why it ended, if not well."""
        return str(self.said.get("message", ""))


class Bench:
    """A proxy, a store behind it, and the command line of one kind of job.

    Args:
        proxy: What the job takes for the store.
        client: A plain boto3 client of the store itself.
        uri: `s3://bucket/prefix`.
        name: The model.
        folder: For termination messages and scratch.
        options: Of `mlp-job train`.
    """

    def __init__(
        self, proxy: Proxy, client: Any, uri: str, name: str, folder: Path, options: Sequence[str]
    ):
        self.proxy, self.client, self.name, self.folder = proxy, client, name, folder
        self.bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix}/{name}/"
        self.options = [*options, f"--store={uri}", f"--name={name}"]
        self.looked = 0
        self.enter: Sequence[str] = ()

    def train(self, run_id: str, kill: Kill | None = None, *more: str, **env: str) -> Ended:
        """Starts one process, kills it when told so, and waits for its end.

        Args:
            run_id: Its `--run-id`; empty for none.
            kill: How it is killed; None lets it end.
            more: Further options.
            env: Further environment variables.
        """
        note = self.folder / f"termination-{secrets.token_hex(4)}.json"
        process = subprocess.Popen(
            [
                *self.enter,
                PROGRAM,
                "train",
                *self.options,
                *([f"--run-id={run_id}"] if run_id else []),
                f"--termination-log={note}",
                *more,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | self.proxy.env | {"TMPDIR": str(self.folder)} | env,
        )
        killed_at: list[float] = []

        def end() -> None:
            killed_at.append(time.monotonic())
            if kill.signal:
                process.send_signal(kill.signal)
            if kill.meanwhile:
                kill.meanwhile(process)

        broken: list[Exception] = []

        def give_up(promise: Exception) -> None:
            broken.append(promise)
            process.kill()

        def wait_for_put() -> None:
            self.proxy.released.clear()
            self.proxy.fault = self.at(kill, end, give_up)

        if kill and kill.put and not kill.event:
            wait_for_put()
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        events, seen = [], 0
        for line in process.stdout:
            events.append(json.loads(line))
            if kill and kill.event == events[-1][EVENT]:
                seen += 1
                if kill.put and seen == 1:
                    wait_for_put()
                elif not kill.put and seen == kill.count and not killed_at:
                    time.sleep(kill.delay)
                    end()
        code = process.wait(timeout=120)
        ended = time.monotonic()
        reader.join()
        process.stdout.close()
        process.stderr.close()
        if kill and kill.put:
            self.proxy.fault = lambda request: Fault.NONE
            self.proxy.released.set()
        if broken:
            raise broken[0]
        return Ended(
            code=code,
            events=events,
            errors=errors[0],
            said=json.loads(note.read_text()) if note.exists() else {},
            seconds=ended - killed_at[0] if killed_at else 0.0,
        )

    def at(
        self, kill: Kill, end: Callable[[], None], give_up: Callable[[Exception], None]
    ) -> Callable[[Request], Fault]:
        """A fault for the proxy: the process ends at one PUT, and the store is looked at in all."""
        puts = [0]
        left = [kill.count]

        def fault(request: Request) -> Fault:
            if request.method != kill.method or "/.probe/" in request.path:
                return Fault.NONE
            puts[0] += 1
            if puts[0] < 0 and kill.fault is Fault.STALL:
                return Fault.STALL
            try:
                self.look()
            except Exception as broken:
                give_up(broken)
                raise
            wanted = (
                puts[0] == int(kill.put[1:])
                if kill.put[0] == "#"
                else request.path.partition("?")[0].endswith(kill.put)
            )
            left[0] -= wanted
            if not wanted or left[0] > 0 or puts[0] < 0:
                return Fault.NONE
            puts[0] = -1_000_000  # once
            end()
            return kill.fault

        return fault

    def get(self, key: str) -> bytes:
        """The body of `{name}/{key}`."""
        return self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()

    def keys(self, below: str = "") -> list[str]:
        """All keys below a folder, relative to the model's."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix + below
        )
        found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return [key.removeprefix(self.prefix) for key in found]

    def pointer(self) -> dict[str, Any] | None:
        """The champion pointer."""
        try:
            return json.loads(self.get("champion.json"))
        except self.client.exceptions.NoSuchKey:
            return None

    def look(self) -> None:
        """The first promise: whoever follows the pointer gets a complete, verified model."""
        self.looked += 1
        champion = self.pointer()
        if champion is None:
            return
        folder = f"versions/{champion['version']}/"
        manifest = self.get(folder + "manifest.json")
        assert sha256(manifest) == champion["manifest_sha256"]
        files = json.loads(manifest)["files"]
        assert any(path.endswith("/model.keras") for path in files)
        for path, record in files.items():
            body = self.get(folder + path)
            assert (len(body), sha256(body)) == (record["size"], record["sha256"]), path

    def versions(self, run_id: str) -> list[int]:
        """The versions of one run."""
        manifests = [key for key in self.keys("versions/") if key.endswith("/manifest.json")]
        return [
            int(k.split("/")[1]) for k in manifests if json.loads(self.get(k))["run_id"] == run_id
        ]

    def moves(self, run_id: str) -> int:
        """How often a run moved the pointer."""
        champion = self.pointer()
        return sum(move["run_id"] == run_id for move in champion["history"]) if champion else 0

    def bits(self, run_id: str) -> dict[str, object]:
        """All that a run came to: weights, history and predictions."""
        (version,) = self.versions(run_id)
        attempt = json.loads(self.get(f"versions/{version}/manifest.json"))["attempt"]
        folder = f"versions/{version}/{attempt}/"
        history = pyarrow.csv.read_csv(io.BytesIO(self.get(folder + "history.csv")))
        predictions = pyarrow.parquet.read_table(
            io.BytesIO(self.get(folder + "predictions.parquet"))
        )
        return {
            "model": published_weights(self.get(folder + "model.keras")),
            "history": history.drop(["seconds"]).to_pydict(),
            "predictions": predictions.to_pydict(),
        }


class FolderBench(Bench):
    """The same for a store in a folder.

    Args:
        bench: What is tried there as well; its options, proxy and scratch are used.
        store: The folder, as the job sees it.
        seen: The same folder, as this process sees it.
        enter: What goes in front of the command.
    """

    def __init__(self, bench: Bench, store: Path, seen: Path, enter: Sequence[str]):
        super().__init__(
            bench.proxy, bench.client, f"s3://{bench.bucket}", bench.name, bench.folder, ()
        )
        self.options = [*bench.options, f"--store={store}"]
        self.whole, self.enter, self.root = bench.whole, enter, seen / bench.name

    def get(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def keys(self, below: str = "") -> list[str]:
        paths = (self.root / below).rglob("*")
        return [path.relative_to(self.root).as_posix() for path in paths if path.is_file()]

    def pointer(self) -> dict[str, Any] | None:
        there = (self.root / "champion.json").exists()
        return json.loads(self.get("champion.json")) if there else None


def published_weights(body: bytes) -> dict[str, bytes]:
    """The arrays of a `.keras` file."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    arrays: dict[str, bytes] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()].tobytes()

    weights.visititems(take)
    return arrays


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@contextlib.contextmanager
def bench(
    s3: seaweed.SeaweedFS,
    name: str,
    folder: Path,
    *,
    table: bool = False,
    options: Sequence[str] = (),
) -> Iterator[Bench]:
    """A store with a champion from a run that nobody disturbed; its bits are `whole`."""
    if table:
        data = churn.write_csv(folder / "data.csv", churn.rows(1500))
    else:
        train, test = tiny.split(2000, 0), tiny.split(200, 1)
        data = folder / "data.npz"
        np.savez(data, x_train=train.x, y_train=train.y, x_test=test.x, y_test=test.y)
    options = options or (TABLE_OPTIONS if table else OPTIONS)
    with proxies.serve(s3.env) as proxy:
        uri = f"s3://{s3.bucket}/kills"
        made = Bench(proxy, s3.client(), uri, name, folder, [*options, f"--data={data}"])
        ended = made.train("whole")
        assert ended.code == 0, ended.errors
        made.whole = made.bits("whole")
        yield made


def expect_promises(bench: Bench, run_id: str) -> None:
    """All three, of a run that has ended well."""
    bench.look()
    assert len(bench.versions(run_id)) == 1
    assert bench.moves(run_id) == 1
    assert bench.bits(run_id) == bench.whole
    assert not [key for key in bench.keys(f"runs/{run_id}/") if "checkpoint" in key]


def killed(bench: Bench, run_id: str, kills: Sequence[Kill]) -> int:
    """Kills one run again and again, lets it end, and counts the kills that came in time."""
    count = 0
    for each in kills:
        ended = bench.train(run_id, each)
        bench.look()
        assert len(bench.versions(run_id)) <= 1
        if ended.code == 0:
            break
        expected = 143 if each.signal == signal.SIGTERM else -signal.SIGKILL
        assert ended.code == expected, f"{each}: {ended}"
        assert "Traceback" not in ended.errors, f"{each}: {ended}"
        if each.signal == signal.SIGTERM:
            assert ended.seconds < 10, f"{each}: {ended}"
            assert ended.said["run_id"] == run_id, f"{each}: {ended.said}"
        count += 1
    else:
        ended = bench.train(run_id)
    assert ended.code == 0, ended
    expect_promises(bench, run_id)
    return count
