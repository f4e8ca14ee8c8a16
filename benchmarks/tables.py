"""Time to parse a CSV as that of Kaggle's digit recognizer: ours, and libraries for tables.

python -m benchmarks.tables [TURNS]

Makes the table of the first 42,000 samples of MNIST in a temporary folder, and prints medians of
processor time on one core. Libraries that are not installed are left out.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mnist_cli.data.datasets import load_dataset

_SAMPLES = 42_000
_AS_BYTES = "table.to_numpy().astype(numpy.uint8)"
# Each is the text of a program that has the path as FILE: what is imported, and what is timed.
PROGRAMS = {
    "mnist_cli.data.own": (
        "from mnist_cli.data.own.reading import read_own",
        "read_own(pathlib.Path(FILE))",
    ),
    "numpy.loadtxt": (
        "import numpy",
        "numpy.loadtxt(FILE, numpy.uint8, delimiter=',', skiprows=1)",
    ),
    "numpy.fromstring": (
        "import numpy",
        "text = open(FILE, 'rb').read().split(b'\\n', 1)[1].strip().replace(b'\\n', b',');"
        "numpy.fromstring(text, numpy.int64, sep=',').astype(numpy.uint8)",
    ),
    "polars": (
        "import os; os.environ['POLARS_MAX_THREADS'] = '1'; import numpy, polars",
        f"table = polars.read_csv(FILE); {_AS_BYTES}",
    ),
    "pyarrow": (
        "import numpy; from pyarrow import csv",
        "table = csv.read_csv(FILE, read_options=csv.ReadOptions(use_threads=False));"
        "numpy.stack([column.to_numpy().astype(numpy.uint8) for column in table.columns], 1)",
    ),
    "pandas": ("import numpy, pandas", f"table = pandas.read_csv(FILE); {_AS_BYTES}"),
    "csv.reader": (
        "import csv, numpy",
        "rows = csv.reader(open(FILE)); next(rows);"
        "numpy.array([list(map(int, row)) for row in rows], numpy.uint8)",
    ),
}


def write_table(path: Path) -> None:
    """Write the table, with a header and the label first."""
    train = load_dataset("mnist").train
    pixels, labels = train.images[:_SAMPLES].flatten(1).tolist(), train.labels.tolist()
    with path.open("w") as file:
        file.write(f"label,{','.join(f'pixel{number}' for number in range(784))}\n")
        for row, label in zip(pixels, labels, strict=False):
            file.write(f"{label},{','.join(map(str, row))}\n")


def seconds_of(program: tuple[str, str], path: Path) -> float | None:
    """Return the processor time of a program on one core, or None if a library is missing."""
    imports, timed = program
    text = (
        f"import pathlib, time\nFILE = {str(path)!r}\n{imports}\nbegan = time.process_time()\n"
        f"{timed}\nprint(time.process_time() - began)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, check=False
    )
    if "ModuleNotFoundError" in done.stderr:
        return None
    done.check_returncode()
    return float(done.stdout)


def main() -> None:
    """Print the medians."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        write_table(path)
        times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
        for _ in range(turns):
            for name, program in PROGRAMS.items():
                seconds = seconds_of(program, path)
                if seconds is not None:
                    times[name].append(seconds)
    ours = statistics.median(times["mnist_cli.data.own"])
    for name, found in times.items():
        if found:
            median = statistics.median(found)
            print(f"{name}: {median:.2f} s, factor {median / ours:.1f}")


if __name__ == "__main__":
    main()
