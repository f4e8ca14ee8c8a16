"""Install mnist_cli from this folder into a virtual environment: `make install` or `make dev`.

`python3 install.py [FOLDER] [EXTRAS]` does it without make. An old Python gets as far as to say so.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
TOO_OLD = sys.version_info < (3, 11)
DOWNLOAD = re.compile(r"\s*Downloading (?:\S*/)?([\w.]+)-\S* \((\d+\.?\d*) MB\)")


def main(folder: str = ".venv", extras: str = "") -> None:
    """Install into a folder; remove it again if that fails and it is new."""
    if TOO_OLD:
        sys.exit(
            f"error: mnist_cli needs Python 3.11 or newer, this is {platform.python_version()}; "
            "install a newer one, then: make install PYTHON=python3.11"
        )
    environment = Path(folder)
    is_new = not environment.exists()
    try:
        install(environment, extras)
    except (OSError, subprocess.CalledProcessError, KeyboardInterrupt) as error:
        if is_new:
            shutil.rmtree(environment, ignore_errors=True)
        left = "removed again" if is_new else "left as it is"
        sys.exit(f"error: could not install ({str(error) or 'interrupted'}); {folder} was {left}")


def install(environment: Path, extras: str) -> None:
    """Make the virtual environment if it is missing, and install into it with pip."""
    index, what = choose_build()
    also = ", and what the tests need" if extras else ""
    print(f"Installing mnist_cli into {environment}: {what}{also}", flush=True)
    if not environment.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    source = f"{ROOT}[{extras}]" if extras else str(ROOT)
    pip = [str(scripts / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--progress-bar", "off", *index, "-c", str(ROOT / "constraints.txt"), "-e", source]
    with subprocess.Popen(pip, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            found = DOWNLOAD.match(line)
            if found:
                print(f"  {found[1]:<20} {found[2]:>6} MB", flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "pip install")
    print(f"Installed. Try: {scripts / 'mnist-train'}", flush=True)


def choose_build() -> "tuple[list[str], str]":
    """Return pip's options for PyTorch's index of CPU builds, if it is to be used, and words."""
    if sys.platform != "linux":  # elsewhere there is only the small build
        return [], "PyTorch, about 1.2 GB on disk"
    if shutil.which("nvidia-smi"):
        return [], "PyTorch with CUDA, about 5.5 GB on disk, since there is an NVIDIA GPU"
    if any(os.environ.get(name) for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")):
        return [], "PyTorch from the index that your PIP_ variables name"
    try:
        with urllib.request.urlopen(f"{CPU_BUILDS}/torch/", timeout=5):
            return ["--extra-index-url", CPU_BUILDS], "PyTorch for CPUs, about 1.2 GB on disk"
    except OSError:
        sizes = "1.2 GB on disk, or about 5.5 with CUDA"
        return [], f"PyTorch as pip finds it ({sizes}), since its CPU builds cannot be reached"


if __name__ == "__main__":
    main(*sys.argv[1:])
