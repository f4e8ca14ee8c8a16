"""No program leaves anything in the home folder, or says that it cannot."""

import sys
from pathlib import Path

import pytest

from tests.helpers.shell import Shell

DRAWN = Path(__file__).parents[1] / "drawn" / "images"
SMALL = "--subset 100 --model linear"
COMMANDS = {
    "train": f"train {SMALL} --max-updates 2 -o made.pt --tensorboard board --log-file log.jsonl",
    "eval": "eval {checkpoint} --report report.html --plot figure.svg",
    "predict": "predict {checkpoint} {image} --show",
    "compare": f"compare {SMALL} --updates 2 --batch-sizes 10,full --seeds 1 --plot figure.svg",
    "export to ONNX": "export {checkpoint} network.onnx",
    "export to HTML": "export {checkpoint} page.html",
    "export to safetensors": "export {checkpoint} weights.safetensors",
    "doctor": "doctor",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_home_folder_stays_empty(
    name: str, shell: Shell, trained: Path, tmp_path: Path
) -> None:
    image = next(iter(sorted(DRAWN.glob("*.png"))))
    command = COMMANDS[name].format(checkpoint=trained, image=image).split()
    home = tmp_path / "home"
    home.mkdir()
    for folder in (home, Path("/nowhere")):
        env = {"HOME": str(folder), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
        done = shell(sys.executable, "-m", "mnist_cli", *command, "-q", env=env)
        assert (done.code, done.err) == (0, "")
    assert list(home.rglob("*")) == []
