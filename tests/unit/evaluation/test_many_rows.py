"""Evaluation of more rows than memory should hold: what lies on the disk stays there."""

import subprocess
import sys

import pytest

GROWN = """
import re, sys, threading, time
from pathlib import Path
import numpy as np
from job.data.place import Disk, blocks
from job.evaluation import curves, evaluate, paired
from job.evaluation.paired import Answers
from job.evaluation.threshold import decide

rows, disk = int(sys.argv[1]), Disk(folder=Path(sys.argv[2]))
y = disk.array((rows,), np.int32, "y")
both = [disk.array((rows, 2), np.float32, "said") for _ in range(2)]
for i, some in enumerate(blocks(rows)):
    random = np.random.default_rng(i)
    y[some] = random.integers(0, 2, len(y[some]))
    for said in both:
        said[some, 1] = 1 / (1 + np.exp(0.5 - y[some] - random.normal(size=len(y[some]))))
        said[some, 0] = 1 - said[some, 1]

peak = 0
def watch():
    global peak
    while True:
        used = re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())
        peak = max(peak, int(used[1]))
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
classes, shares = (0, 1), np.array([0.5, 0.5])
metrics = evaluate(both[0], y, classes)
assert 0.6 < metrics.scores.roc_auc < 0.9
first, second = (Answers(probabilities=p, predicted=decide(p, classes, None)) for p in both)
for metric in ("accuracy", "roc_auc", "average_precision", "log_loss", "f1"):
    paired.difference(metric, first, second, y, 2.0)
    paired.change(metric, first, second, y)
curves.curves(both[0], y, classes, shares, None).levels()
print(peak // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_test_rows(tmp_path):
    """In memory they take 516 MiB more."""

    def peak(rows):
        command = [sys.executable, "-c", GROWN, str(rows), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert peak(5_000_000) < peak(1_500_000) + 100
