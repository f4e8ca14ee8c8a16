"""The presets of `mnist-train` and `mnist-compare`: the TOML files in `configs/`."""

import os
import tomllib
from pathlib import Path

from mnist_cli.config.sources import quote
from mnist_cli.config.suggestions import suggestion
from mnist_cli.errors import UsageError

_ROOT = Path(__file__).parents[1]
# In an installed package the presets lie inside it; in a checkout, beside it.
PRESETS = next((p for p in (_ROOT / "configs", _ROOT.parent / "configs") if p.is_dir()), _ROOT)
_MAX_NAME_BYTES = 255  # a longer name raises an error when the file is opened
TRAIN, COMPARE = "mnist-train", "mnist-compare"


def preset_names(program: str) -> list[str]:
    """Return the presets of `mnist-train` or of `mnist-compare`, in alphabetical order."""
    paths = sorted(PRESETS.glob("*.toml"))
    return [path.stem for path in paths if _is_comparison(path) == (program == COMPARE)]


def check_preset(named: str, program: str) -> None:
    """Raise UsageError if `--config named` is neither a path nor a preset of the program."""
    path = Path(named)
    is_path = path.suffix == ".toml" or path.parent != Path()
    if named == "-" or is_path or len(os.fsencode(named)) > _MAX_NAME_BYTES or path.is_file():
        return
    names = preset_names(program)
    other = COMPARE if program == TRAIN else TRAIN
    if named in preset_names(other):
        raise UsageError(f"--config {named}: that is a preset of {other}: {other} --config {named}")
    if named not in names:
        raise UsageError(
            f"--config {quote(named)}: no such preset{suggestion(named, names) or '.'} There are "
            f"{', '.join(names)} (see {program} --list-presets); a file's name ends in .toml"
        )


def purpose_of(name: str) -> str:
    """Return the first comment of a preset: its purpose, or the claim that it tests."""
    with (PRESETS / f"{name}.toml").open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def _is_comparison(path: Path) -> bool:
    """Return True if a preset has `batch_sizes`, an option of `mnist-compare` only."""
    return "batch_sizes" in tomllib.loads(path.read_text(encoding="utf-8"))
