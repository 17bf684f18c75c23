"""The README's two worked examples, copied out and run."""

import os
import re
import shlex
import subprocess
import sys

import pyarrow.csv
import pytest
from documents import document
from program import PROGRAM

README = document("README.md")


def run_section(title, folder):
    """Runs the code blocks of a section in a folder; the output of each command."""
    section = README.split(f"\n### {title}\n")[1].split("\n## ")[0].split("\n### ")[0]
    said = []
    for language, code in re.findall(r"```(python|sh)\n(.*?)```", section, re.DOTALL):
        commands = [[sys.executable, "-P", "-c", code]]
        if language == "sh":
            lines = [shlex.split(line) for line in code.splitlines()]
            assert all(line[:3] == ["uv", "run", "mlp-job"] for line in lines)
            commands = [[PROGRAM, *line[3:]] for line in lines]
        for command in commands:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=280,
                env=os.environ, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            said.append(done.stdout)
    return said


def test_a_table(tmp_path):
    *_, loaded = run_section("A table", tmp_path)
    assert loaded.count("[[") == 2  # Keras's answer, and TensorFlow's
    said = pyarrow.csv.read_csv(tmp_path / "diagnoses.csv")["class"].to_pylist()
    truth = pyarrow.csv.read_csv(tmp_path / "cancer.csv")["diagnosis"].to_pylist()
    assert sum(a == b for a, b in zip(said, truth, strict=True)) / len(truth) > 0.95


def test_images(tmp_path):
    run_section("Images", tmp_path)
    said = pyarrow.csv.read_csv(tmp_path / "sevens.csv")["class"].to_pylist()
    assert said.count(7) / len(said) > 0.9


@pytest.mark.parametrize("title", ["A table", "Images"])
def test_the_sections_are_there(title):
    assert f"\n### {title}\n" in README
