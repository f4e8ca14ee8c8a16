"""The presets, and which program each is for."""

import os
import tomllib
from pathlib import Path

from mnist_cli.config.sources import shown
from mnist_cli.config.suggestions import suggestion
from mnist_cli.errors import UsageError

_ROOT = Path(__file__).parents[1]
# In an installed package the presets lie inside it; in a checkout, beside it.
PRESETS = next((p for p in (_ROOT / "configs", _ROOT.parent / "configs") if p.is_dir()), _ROOT)
_LONGEST = 255  # bytes, of a file's name; what is longer is told when it is opened
TRAIN, COMPARE = "mnist-train", "mnist-compare"


def preset_names(program: str) -> list[str]:
    """Return the presets of `mnist-train` or of `mnist-compare`, in alphabetical order.

    Only a comparison has `batch_sizes`.
    """
    paths = sorted(PRESETS.glob("*.toml"))
    return [path.stem for path in paths if _is_comparison(path) == (program == COMPARE)]


def check_preset(named: str, program: str) -> None:
    """Raise UsageError if `--config named` is no file and no preset of the program.

    A path, or what ends in .toml, is left to be opened.
    """
    path = Path(named)
    is_path = path.suffix == ".toml" or path.parent != Path() or len(os.fsencode(named)) > _LONGEST
    if named == "-" or is_path or path.is_file():
        return
    names = preset_names(program)
    other = COMPARE if program == TRAIN else TRAIN
    if named in preset_names(other):
        raise UsageError(f"--config {named}: that is a preset of {other}: {other} --config {named}")
    if named not in names:
        raise UsageError(
            f"--config {shown(named)}: no such preset{suggestion(named, names) or '.'} There are "
            f"{', '.join(names)} (see {program} --list-presets); a file's name ends in .toml"
        )


def purpose_of(name: str) -> str:
    """Return the first comment of a preset: what it is for, or which claim it tests."""
    with (PRESETS / f"{name}.toml").open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def _is_comparison(path: Path) -> bool:
    return "batch_sizes" in tomllib.loads(path.read_text(encoding="utf-8"))
