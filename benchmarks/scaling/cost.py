"""`python -m benchmarks.scaling.cost`: what an update costs with many ranks, and what it would.

It measures this machine for three minutes, writes `benchmarks/results/scaling.json`, and makes
the tables of `docs/scaling.md` and its figures from that file. `--render` makes them without
measuring; `--tables` prints them; `--quick` measures little, prints, and writes nothing.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import ROOT
from benchmarks.scaling.fit import Model
from benchmarks.scaling.points import (
    NETWORKS,
    Measurement,
    Point,
    from_json,
    merged,
    read,
    write,
)
from benchmarks.scaling.tables import filled, tables

RESULT = ROOT / "benchmarks" / "results" / "scaling.json"
DOCUMENT = ROOT / "docs" / "scaling.md"
FIGURES = ROOT / "docs" / "figures"


def timings(ranks: int, what: str, rounds: int) -> tuple[Point, ...]:
    """Return what so many ranks measure; `what` is that of `benchmarks.scaling.timings`.

    Raises:
        RuntimeError: they failed.

    """
    program = [sys.executable]
    if ranks > 1:
        program += ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "points.json"
        command = [*program, "-m", "benchmarks.scaling.timings", str(out), what, str(rounds)]
        done = subprocess.run(
            [*command, str(time.time())],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
            timeout=600,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        return from_json(json.loads(out.read_text()))


def measure(*, quick: bool) -> Measurement:
    """Measure: programs take turns, in each of them full_batch does, and medians are of all."""
    from mnist_cli.models.networks import build_model, count_parameters  # noqa: PLC0415

    prefix, turns, rounds, many = ("quick-", 1, 1, 1) if quick else ("", 2, 2, 4)
    found: list[Point] = []
    began = time.perf_counter()
    for turn in range(turns):
        for ranks, what, times in ((1, "start", 0), (4, "sums", many), (2, "pair", rounds)):
            found += timings(ranks, prefix + what, times)
            seconds = time.perf_counter() - began
            print(f"{seconds:4.0f} s  turn {turn + 1}: {what}", file=sys.stderr, flush=True)
    parameters = {network: count_parameters(build_model(network)) for network in NETWORKS}
    about = {
        "date": time.strftime("%F"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("mnist_cli", "torch")},
    }
    return Measurement(about, parameters, merged(found))


def processor() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def render(measured: Measurement) -> None:
    """Make the document's tables and figures."""
    from benchmarks.scaling.plot import measured_figure, predicted_figure  # noqa: PLC0415

    model = Model(measured)
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), tables(model)))
    (FIGURES / "scaling-measured.svg").write_bytes(measured_figure(model))
    (FIGURES / "scaling-predicted.svg").write_bytes(predicted_figure(model))


def main() -> None:
    """Measure and make what the options ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling.cost", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", action="store_true", help="half a minute; writes nothing")
    choice.add_argument("--render", action="store_true", help="from the file, without measuring")
    choice.add_argument("--tables", action="store_true", help="print the file's tables")
    options = parser.parse_args()
    if options.quick or options.tables:
        measured = measure(quick=True) if options.quick else read(RESULT)
        for name, table in tables(Model(measured)).items():
            print(f"\n## {name}\n\n{table}")
        return
    if not options.render:
        write(measure(quick=False), RESULT)
    render(read(RESULT))
    print(f"Made {DOCUMENT} and its figures from {RESULT}")


if __name__ == "__main__":
    main()
