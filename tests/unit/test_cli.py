"""The command line as a process: what a user, a shell and Kubernetes see of it."""

import errno
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from job import cli, commands
from job.config import OPTIONS, envvar, flag

COMMANDS = tuple(
    name.removesuffix(".py")
    for name in sorted(path.name for path in Path(commands.__path__[0]).iterdir())
    if not name.startswith("_") and name not in ("app.py", "show.py", "README.md")
)
"""One for each file or folder in job/commands/."""
HEAVY = ("tensorflow", "keras", "boto3", "botocore", "matplotlib", "pyarrow", "jinja2", "numpy")


def mlp_job(*arguments, timeout=120, **environment):
    return subprocess.run(
        [Path(sys.executable).with_name("mlp-job"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb"} | environment,
        check=False,
    )


def last_event(output):
    return json.loads(output.splitlines()[-1])


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_answers(command):
    done = mlp_job(*command.split(), "--help")
    assert done.returncode == 0
    assert "Usage: mlp-job" in done.stdout
    assert "Example" in done.stdout
    assert f"mlp-job {command}" in done.stdout.split("Example")[1]
    assert done.stderr == ""


def test_every_command_has_a_file():
    shown = mlp_job("--help").stdout
    assert set(COMMANDS) <= {line.split()[1] for line in shown.splitlines() if "│" in line}


def test_the_everyday_options_come_first():
    shown = mlp_job("train", "--help").stdout
    first, *panels = shown.split("╭─")[1:]
    names = re.findall(r"^│ --([a-z-]+)", first, re.MULTILINE)
    assert set(names) == {
        "data", "test-data", "label", "exclude", "store", "name", "epochs", "device",
        "min-accuracy", "skip-unchanged", "help",
    }  # fmt: skip
    assert [panel.split()[0] for panel in panels] == [
        "Data", "Model", "Training", "Gate", "Publishing", "Process"
    ]  # fmt: skip


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from job import cli\n"
        "cli.app(['train', '--help'], standalone_mode=False)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_importing_the_package_has_no_effect(tmp_path):
    # Keras's subclasses stand in a module of their own, which nothing but `fit` imports.
    code = (
        "import logging, pkgutil, signal, importlib, sys, os\n"
        "before = (dict(os.environ), signal.getsignal(signal.SIGTERM), os.listdir('.'))\n"
        "import job\n"
        "for module in pkgutil.walk_packages(job.__path__, 'job.'):\n"
        "    if not module.name.endswith(('__main__', 'training.callbacks')):\n"
        "        importlib.import_module(module.name)\n"
        "assert before == (dict(os.environ), signal.getsignal(signal.SIGTERM), os.listdir('.'))\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('mlp_job').handlers\n"
        "print([name for name in ('tensorflow', 'keras', 'boto3', 'matplotlib')\n"
        "       if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_field_of_config_is_an_option_of_train():
    shown = mlp_job("train", "--help").stdout
    for name, option in OPTIONS.items():
        assert flag(name) in shown
        assert option.help.split()[0] in shown


def test_version():
    from job import __version__

    assert mlp_job("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        (["--epochs", "ten"], "Received: 'ten'."),
        (["--epochs", "0"], "Received: 0."),
        (["--device", "tpu"], "Received: 'tpu'."),
        (["--hidden", "350 x"], "Received: '350 x'."),
        (["--learning-rate", "nan"], "Received: nan."),
        (["--data", "digits.npz"], "--name: expected"),
        (["--name", "../up"], "Received: '../up'."),
        (["--no-such-option"], "--no-such-option"),
        (["stray"], "stray"),
        (["--log-format", "xml"], "'xml'"),
    ],
)
def test_a_bad_option_ends_with_2_and_writes_nothing(arguments, received, tmp_path):
    note = tmp_path / "termination"
    done = mlp_job(
        "train", *arguments, "--store", str(tmp_path / "store"), MLP_JOB_TERMINATION_LOG=str(note)
    )
    assert done.returncode == 2
    event = last_event(done.stdout)
    assert event["event.name"] == "run.ended"
    assert event["error"] == "UsageError"
    assert received in event["message"]
    assert event["hint"]
    assert json.loads(note.read_text())["error"] == "UsageError"
    assert [path.name for path in tmp_path.iterdir()] == ["termination"]


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (["--exclude", "a 'b c'"], ""),
        (["--exclude", "a", "--exclude", "'b c'"], ""),
        (["--exclude", "a", "--exclude", "'b c'"], "x"),
        ([], "a 'b c'"),
    ],
)
def test_a_list_option_that_is_repeated_adds_to_the_list(arguments, variable, tmp_path):
    table = tmp_path / "rows.csv"
    rows = "".join(f"{i},{i * 7 % 31},{i * i % 37},{'uv'[i % 2]}\n" for i in range(60))
    table.write_text("a,b c,d,y\n" + rows)
    done = mlp_job(
        "data", str(table), "--label", "y", "--json", *arguments, MLP_JOB_EXCLUDE=variable
    )
    kinds = {column["name"]: column["kind"] for column in json.loads(done.stdout)["columns"]}
    assert kinds == {"a": "left out", "b c": "left out", "d": "number", "y": "label"}


def test_a_list_without_quotes_is_answered_with_how_to_write_it(tmp_path):
    done = mlp_job("train", "--keep", "id", "day", "--store", str(tmp_path))
    assert "--keep 'id day'" in last_event(done.stdout)["hint"]


def test_repeated_numbers_make_one_list(tmp_path):
    done = mlp_job(
        "train", "--hidden", "3", "--hidden", "4 0", "--store", str(tmp_path), "--name", "x"
    )
    assert "Received: (3, 4, 0)." in last_event(done.stdout)["message"]


def test_a_message_of_any_length_ends_the_process_and_fits(tmp_path):
    note, table = tmp_path / "note", tmp_path / "t.csv"
    table.write_text("Ж" * 3000 + ",y\n1,2\n3,4\n")
    done = mlp_job(
        "data", str(table), "--label", "Ж" * 9000, timeout=60, MLP_JOB_TERMINATION_LOG=str(note)
    )
    assert (done.returncode, last_event(done.stderr)["error"]) == (65, "DataError")
    assert "Ж" * 2900 in last_event(done.stderr)["hint"]
    assert json.loads(note.read_bytes())["error"] == "DataError"
    assert len(note.read_bytes()) <= 4096


def test_the_environment_is_read_and_an_option_beats_it():
    assert "Received: -1." in mlp_job("train", MLP_JOB_EPOCHS="-1").stdout
    assert "Received: -2." in mlp_job("train", "--epochs", "-2", MLP_JOB_EPOCHS="-1").stdout
    assert "'a b'" in mlp_job("train", MLP_JOB_HIDDEN="a b").stdout


def test_an_empty_variable_counts_as_unset():
    empty = dict.fromkeys(map(envvar, OPTIONS), "")
    done = mlp_job("train", "--epochs", "0", **empty)
    assert "--epochs: expected" in done.stdout


@pytest.mark.parametrize("arguments", [["train"], ["models"], ["verify", "1"], ["data", "mnist"]])
def test_an_unknown_variable_ends_every_command_with_2(arguments, tmp_path):
    done = mlp_job(*arguments, MLP_JOB_MIN_ACURACY="0.999", MLP_JOB_STORE=str(tmp_path))
    said = last_event(done.stdout if arguments == ["train"] else done.stderr)
    assert (done.returncode, said["error"]) == (2, "UsageError")
    assert "Received: MLP_JOB_MIN_ACURACY." in said["message"]
    assert "Did you mean MLP_JOB_MIN_ACCURACY?" in said["hint"]


def test_no_command_minds_a_variable_of_another_or_of_a_service_link(tmp_path):
    links = {
        "MLP_JOB_SERVICE_HOST": "10.0.0.1", "MLP_JOB_SERVICE_PORT": "80",
        "MLP_JOB_SERVICE_PORT_HTTP": "80", "MLP_JOB_PORT": "tcp://10.0.0.1:80",
        "MLP_JOB_PORT_80_TCP": "tcp://10.0.0.1:80", "MLP_JOB_PORT_80_TCP_ADDR": "10.0.0.1",
        "MLP_JOB_PORT_80_TCP_PORT": "80", "MLP_JOB_PORT_80_TCP_PROTO": "tcp",
        "MLP_JOB_WEB_SERVICE_HOST": "10.0.0.2", "MLP_JOB_WEB_PORT_53_UDP": "udp://10.0.0.2:53",
    }  # fmt: skip
    done = mlp_job("models", "--store", str(tmp_path), MLP_JOB_EPOCHS="3", **links)
    assert done.returncode == 0, done.stderr


def test_help_answers_whatever_the_environment():
    assert mlp_job("train", "--help", MLP_JOB_MIN_ACURACY="1").returncode == 0


def test_no_arguments_show_the_help():
    done = mlp_job()
    assert done.returncode == 2
    assert "Usage: mlp-job" in done.stdout
    assert last_event(done.stderr)["error"] == "UsageError"


def test_an_unknown_command_is_named():
    done = mlp_job("trian")
    assert done.returncode == 2
    assert last_event(done.stderr)["message"] == "No such command 'trian'. Did you mean 'train'?"


def test_text_on_request():
    done = mlp_job("train", "--data", "x.npz", "--log-format", "text")
    assert done.stdout == (
        "--name: expected a name for the model, since --data is not mnist. Received: none.\n"
        "→ Add --name, so that this data's models compete among themselves only.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["data", "mnist", "--test-split", "1.5"], "--test-split"),
        (["data", "mnist", "--test-split", "-1"], "--test-split"),
        (["data", "mnist", "--test-split", "nan"], "--test-split"),
        (["data", "mnist", "--image-size", "0 5"], "--image-size"),
        (["data", "mnist", "--image-size", "-1 5"], "--image-size"),
        (["data", "mnist", "--image-size", "5"], "--image-size"),
        (["models", "--name", "../x"], "--name"),
        (["evaluate", "1", "--name", "../x"], "--name"),
        (["predict", "1", "rows.csv", "-o", "out.csv", "--name", "../x"], "--name"),
    ],
)
def test_every_command_holds_options_to_the_ranges_of_train(arguments, option):
    done = mlp_job(*arguments)
    said = last_event(done.stderr)
    assert (done.returncode, said["error"]) == (2, "UsageError")
    assert said["message"].startswith(f"{option}: expected ")
    assert "Received: " in said["message"]


def test_memory_that_ran_out_is_no_bug(tmp_path):
    """One JSON document is read as a whole, so that one large allocation is what fails.

    It is packed, so that its size is not known before.
    """
    limit = 300 << 20
    path = tmp_path / "rows.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'[{"a": 1, "y": "no"}, {"a": 2, "y": "yes"}')
        for _ in range(limit >> 20):
            file.write(b" " * (1 << 20))
        file.write(b"]")
    done = subprocess.run(
        [
            *("prlimit", f"--data={limit}", Path(sys.executable).with_name("mlp-job"), "data"),
            *(path, "--label=y", "--feed=memory"),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 71, done.stderr
    ended = last_event(done.stderr)
    assert ended["error"] == "DeviceOutOfMemory"
    assert "Memory: expected" in ended["message"]
    assert "--feed stream" in ended["hint"]


@pytest.mark.parametrize(("kind", "least"), [("data", "-d` of at least 256"), ("as", "-v` of")])
def test_a_limit_below_what_the_libraries_need_is_named(kind, least):
    program = Path(sys.executable).with_name("mlp-job")
    done = subprocess.run(
        ["prlimit", f"--{kind}={200 << 20}", program, "data", "mnist"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 71, done.stderr
    assert f"expected `ulimit {least}" in last_event(done.stderr)["message"]
    assert "Received: 200 MiB." in last_event(done.stderr)["message"]


@pytest.mark.parametrize(
    "exc",
    [MemoryError(), OSError(errno.ENOMEM, "no memory"), RuntimeError("can't start new thread")],
    ids=repr,
)
def test_what_a_library_makes_of_no_memory_is_known(exc):
    assert cli.out_of_memory(exc).exit_code == 71
    wrapped = ValueError("its own")
    wrapped.__cause__ = exc
    assert cli.out_of_memory(wrapped).exit_code == 71
    assert cli.out_of_memory(ValueError("its own")) is None
