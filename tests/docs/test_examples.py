"""Tests of the examples: their commands run as they stand, on this machine.

Stand-ins do what a cluster would: srun and scontrol are scripts of a few lines, and two machines,
nodes or pods are two launchers on this machine.
"""

import argparse
import functools
import json
import random
import re
import shlex
import shutil
import socket
import stat
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mnist_cli.config.programs import Display, Resume
from mnist_cli.config.sources import flag
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import ExitCode
from tests.helpers.calling import Caller
from tests.helpers.shell import Done, Shell

EXAMPLES = Path(__file__).parents[2] / "examples"
ONE, TWO, SLURM = (EXAMPLES / n for n in ("one-machine.sh", "two-machines.sh", "slurm.sbatch"))
KUBERNETES = EXAMPLES / "kubernetes.yaml"
SCRIPTS = [ONE, TWO, SLURM]
MANIFESTS: dict[str, dict[str, Any]] = {
    manifest["kind"]: manifest for manifest in yaml.safe_load_all(KUBERNETES.read_text())
}
JOB = MANIFESTS["Job"]["spec"]
POD = JOB["template"]["spec"]
(CONTAINER,) = POD["containers"]
SMALL = ("--model=linear", "--subset=640", "--epochs=1", "-q")
WAIT = 90  # seconds: a start of torchrun and its ranks takes up to ten


def kinds_of_options(words: list[str]) -> tuple[set[str], set[str]]:
    """Return the options of torchrun, before `-m mnist_cli train`, and those of train behind it."""
    start = words.index("mnist_cli.cli.torchrun") + 1
    program = words.index("mnist_cli")
    assert words[program - 1 : program + 2] == ["-m", "mnist_cli", "train"]
    return tuple(  # type: ignore[return-value]
        {word.partition("=")[0] for word in part if word.startswith("--")}
        for part in (words[start : program - 1], words[program + 2 :])
    )


def commands() -> dict[str, list[str]]:
    """Return the words of each example's command."""
    shown = {path.name: path.read_text() for path in SCRIPTS}
    shown[KUBERNETES.name] = "\n".join(CONTAINER["command"][2:] + CONTAINER["args"])
    found = {}
    for name, text in shown.items():
        command = text[text.index("exec python -m mnist_cli.cli.torchrun") :].replace("'", " ")
        command = command.replace("\\\n", " ") if name != KUBERNETES.name else command
        found[name] = shlex.split(command.partition("||")[0], comments=True)
    return found


def assert_trained(shell: Shell, checkpoint: str) -> None:
    done = shell("mnist-eval", checkpoint)
    assert done.code == 0, done.err
    assert float(done.out.removeprefix("Test Accuracy: ")) > 0.15  # untrained ones score about 0.1


def free_port() -> int:
    """Return a port that slurm.sbatch can come to, and nobody listens at."""
    for _ in range(100):
        port = random.randint(20000, 29999)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError


def together(shell: Shell, *each: tuple[list[str], dict[str, str]]) -> list[Done]:
    """Run commands at the same time, each with its own variables, and wait for all."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    start = functools.partial(subprocess.Popen, cwd=shell.folder, **pipes)
    processes = [start(command, env=shell.env | env) for command, env in each]
    try:
        outputs = [process.communicate(timeout=WAIT) for process in processes]
    finally:
        for process in processes:
            process.terminate()
    return [Done(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


@pytest.fixture
def cluster(shell: Shell) -> dict[str, str]:
    """Put srun and scontrol on the path, and return the variables of a job with two nodes.

    srun runs its command once for every node; with $SRUN_CODE it only ends with that.
    """
    programs = {
        "srun": """while [[ $1 == --* ]]; do shift; done
            [ -z "${SRUN_CODE-}" ] || exit "$SRUN_CODE"
            SLURM_NODEID=0 SLURM_PROCID=0 "$@" & first=$!
            SLURM_NODEID=1 SLURM_PROCID=1 "$@" & second=$!
            wait $first && wait $second""",
        "scontrol": """echo "$*" >> scontrol.log
            [ "$1 $2" != "show hostnames" ] || printf '%s\\n' localhost other""",
    }
    folder = shell.folder / "bin"
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (folder / name).chmod(0o755)
    return {
        "PATH": f"{folder}:{shell.env['PATH']}",
        "SLURM_JOB_ID": str(70000 + free_port()),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
    }


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_valid(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, path], check=True)
    assert path.suffix != ".sh" or path.stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("name", commands())
def test_every_option_in_an_example_exists(name: str) -> None:
    from torch.distributed.run import get_args_parser

    launcher: argparse.ArgumentParser = get_args_parser()
    of_torchrun, of_train = kinds_of_options(commands()[name])
    assert of_torchrun - {"--"} <= {o for a in launcher._actions for o in a.option_strings}
    known = {flag(f.name) for config in (TrainConfig, Resume, Display) for f in fields(config)}
    assert {"--resume", "--save-every"} <= of_train <= known


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_size_of_an_update_can_be_overruled(path: Path, call: Caller) -> None:
    """It is a variable, since --mode batch contradicts a flag."""
    (name, value) = re.findall(r"^export (MNIST_\w+)=\"\$\{\w+-(\d+)}\"", path.read_text(), re.M)[0]
    size = {name: value}
    start = json.loads(call.train("--json", env=size).out.splitlines()[0])
    assert start["batch_size"] == 256
    assert call.train("--mode", "batch", env=size).code == 0


def test_the_directives_of_the_batch_file_are_slurms() -> None:
    forms = {
        "job-name": r"\w+",
        "nodes": r"\d+",
        "ntasks-per-node": "1",  # one launcher
        "cpus-per-task": r"\d+",
        "time": r"\d\d:\d\d:\d\d",
        "signal": r"TERM@\d+",  # without B: it comes to the launchers and not to the shell
        "requeue": "",
        "open-mode": "append",  # or the job that is queued again overwrites its log
        "output": r"[\w%.-]+",
    }
    head, _, body = SLURM.read_text().partition("\nset -euo pipefail\n")
    assert all(line.startswith("#") for line in head.splitlines())
    assert "#SBATCH" not in body  # Slurm reads none behind the first command
    directives = re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", head, re.M)
    assert len(directives) == head.count("#SBATCH")
    assert {name for name, _ in directives} == set(forms)
    for name, value in directives:
        assert re.fullmatch(forms[name], value), name


@pytest.mark.parametrize("version", ["1.31", "1.37"])  # the oldest that will do, and the newest
@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_is_valid(kind: str, version: str) -> None:
    assert kubernetes_validate.validate(MANIFESTS[kind], version, strict=True) == version


def test_the_manifests_fit_each_other() -> None:
    service, name = MANIFESTS["Service"], MANIFESTS["Job"]["metadata"]["name"]
    words = commands()[KUBERNETES.name]
    (port,) = service["spec"]["ports"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    policy, pods = MANIFESTS["NetworkPolicy"]["spec"], {"matchLabels": service["spec"]["selector"]}
    assert policy["podSelector"] == pods
    assert policy["ingress"] == [{"from": [{"podSelector": pods}]}]
    assert POD["subdomain"] == service["metadata"]["name"]
    endpoint = f"{name}-0.{POD['subdomain']}:{port['port']}"
    assert words[words.index("--rdzv-endpoint") + 1] == endpoint
    assert words[words.index("--nnodes") + 1] == str(JOB["completions"]) == str(JOB["parallelism"])
    ranks = words[words.index("--nproc-per-node") + 1]
    assert ranks == CONTAINER["resources"]["limits"]["cpu"]
    (claim,) = (v["persistentVolumeClaim"] for v in POD["volumes"] if "emptyDir" not in v)
    assert claim["claimName"] == MANIFESTS["PersistentVolumeClaim"]["metadata"]["name"]


def test_a_pod_that_would_fail_again_is_not_started_again() -> None:
    final = JOB["podFailurePolicy"]["rules"][0]
    assert final["action"] == "FailJob"
    assert final["onExitCodes"]["values"] == [code for code in ExitCode if 1 < code < 128]


def test_one_machine(shell: Shell) -> None:
    done = shell(str(ONE), *SMALL, "-o", "x.pt", env={"RANKS": "2"})
    assert (done.code, done.out) == (0, "x.pt\n"), done.err
    assert_trained(shell, "x.pt")


def test_two_machines(shell: Shell) -> None:
    env = {"RANKS": "1", "PORT": str(free_port())}
    machines = (([str(TWO), "127.0.0.1", n, *SMALL, "-o", "x.pt"], env) for n in ("1", "0"))
    done = together(shell, *machines)
    assert [d.code for d in done] == [0, 0], done
    assert sorted(d.out for d in done) == ["", "x.pt\n"]
    assert_trained(shell, "x.pt")


def test_slurm(shell: Shell, cluster: dict[str, str]) -> None:
    done = shell("bash", str(SLURM), *SMALL, "-o", "x.pt", env=cluster)
    assert (done.code, done.out) == (0, "x.pt\n"), done.err
    assert_trained(shell, "x.pt")
    assert (shell.folder / "scontrol.log").read_text() == "show hostnames node[1-2]\n"


@pytest.mark.parametrize("code", [0, 2, 143])
def test_a_slurm_job_is_queued_again_when_its_time_is_up(
    code: int, shell: Shell, cluster: dict[str, str]
) -> None:
    done = shell("bash", str(SLURM), env=cluster | {"SRUN_CODE": str(code)})
    assert done.code == code
    requeued = f"requeue {cluster['SLURM_JOB_ID']}\n" in (shell.folder / "scontrol.log").read_text()
    assert requeued == (code == 143)


def test_kubernetes(shell: Shell) -> None:
    port = MANIFESTS["Service"]["spec"]["ports"][0]["port"]
    (shell.folder / "results").mkdir()
    here = {
        f"mnist-0.mnist:{port}": f"127.0.0.1:{free_port()}",
        "per-node 4": "per-node 1",
        "/results/": f"{shell.folder}/results/",
        "/tmp/data": shell.env["MNIST_DATA_DIR"],
    }
    command = CONTAINER["command"] + CONTAINER["args"] + [*SMALL]
    for there, instead in here.items():
        assert any(there in word for word in command), there
        command = [word.replace(there, instead) for word in command]
    pods = ((command, {"JOB_COMPLETION_INDEX": index}) for index in ("1", "0"))
    done = together(shell, *pods)
    assert [d.code for d in done] == [0, 0], done
    assert_trained(shell, "results/checkpoint.pt")


def test_the_examples_name_no_path_of_a_machine_and_each_is_described() -> None:
    page = (EXAMPLES / "README.md").read_text()
    for path in (path for path in EXAMPLES.rglob("*") if path.is_file()):
        text = path.read_text()
        assert str(EXAMPLES.parent) not in text
        assert path.name == "README.md" or f"]({path.relative_to(EXAMPLES).as_posix()})" in page
