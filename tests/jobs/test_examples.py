"""The worked examples of the documents, copied out and run."""

import shlex
import subprocess
import sys
from pathlib import Path

import churn
import pyarrow.csv
from documents import blocks
from program import PROGRAM


def run_section(path: str, title: str, folder: Path) -> list[str]:
    """Runs the Python and shell blocks of a section in a folder; the output of each command."""
    outputs = []
    for language, code in blocks(path, title):
        if language == "python":
            commands = [[sys.executable, "-P", "-c", code]]
        elif language == "sh":
            lines = [shlex.split(line) for line in code.splitlines()]
            assert all(line[:3] == ["uv", "run", "mlp-job"] for line in lines)
            commands = [[PROGRAM, *line[3:]] for line in lines]
        for command in commands:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=280, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            outputs.append(done.stdout)
    return outputs


def test_your_own_csv(tmp_path: Path) -> None:
    rows = churn.rows(1000)
    churn.write_csv(tmp_path / "churn.csv", rows[:800])
    churn.write_csv(tmp_path / "new.csv", rows[800:])
    run_section("README.md", "Your own CSV in five minutes", tmp_path)
    assert (tmp_path / "report/report.html").exists()
    answers = pyarrow.csv.read_csv(tmp_path / "predictions.csv")["class"].to_pylist()
    hits = sum(a == row["churned"] for a, row in zip(answers, rows[800:], strict=True))
    assert hits / len(answers) > 0.8


def test_a_published_table(tmp_path: Path) -> None:
    *_, loaded = run_section("job/models/README.md", "A published table", tmp_path)
    assert loaded.count("[[") == 2  # Keras's answer, and TensorFlow's


def test_images(tmp_path: Path) -> None:
    run_section("job/data/README.md", "Try it with images", tmp_path)
    answers = pyarrow.csv.read_csv(tmp_path / "sevens.csv")["class"].to_pylist()
    assert answers.count(7) / len(answers) > 0.9
