"""Options of `mnist-eval`, `mnist-predict` and `mnist-export`, and those outside the configs."""

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import PurePath

from mnist_cli.config.options import DATASETS, DEVICES, option
from mnist_cli.config.suggestions import suggestion
from mnist_cli.errors import UsageError

SPLITS = ("test", "train", "val")
PANELS = ("auto", "confusion", "calibration", "mistakes", "history")


class ExportFormat(StrEnum):
    """A format that `mnist-export` writes; its value is also the ending of such a file's name."""

    HTML = "html"
    ONNX = "onnx"
    SAFETENSORS = "safetensors"


@dataclass(frozen=True)
class EvalConfig:
    """Options of `mnist-eval`."""

    dataset: str | None = option(
        None, "The data set.", choices=DATASETS, shown_default="as trained on"
    )
    data_dir: str = option("data", "Folder of the data, in torchvision's layout.", metavar="DIR")
    device: str = option("auto", "Where to compute.", choices=DEVICES)
    split: str = option(
        "test",
        "The samples to evaluate on: test, or those that the run used as train or val.",
        choices=SPLITS,
    )
    batch_size: int = option(
        1000, "Samples in one forward pass; never changes the result.", metavar="N", minimum=1
    )
    min_accuracy: float | None = option(
        None, "Exit with 5 if the accuracy is below A.", metavar="A", minimum=0, maximum=1
    )
    mistakes: int = option(
        0, "Draw the N worst mistakes in the terminal.", metavar="N", minimum=0, maximum=1000
    )
    report: str | None = option(
        None,
        "Write the results as a web page: a file that ends in .html, or a folder.",
        metavar="DIR|FILE.html",
    )
    plot: str | None = option(
        None, "Draw a figure: a file that ends in .png, .svg or .pdf.", metavar="PATH"
    )
    panel: str = option(
        "auto",
        "What --plot shows; auto goes by the file's name, or else confusion.",
        choices=PANELS,
    )


@dataclass(frozen=True)
class PredictConfig:
    """Options of `mnist-predict`."""

    device: str = option("auto", "Where to compute.", choices=DEVICES)
    uncertain_below: float | None = option(
        None,
        "Call a prediction uncertain if its probability is below P.",
        metavar="P",
        minimum=0,
        maximum=1,
        shown_default="by model",
    )
    show: bool = option(False, "Draw the network's input for each image on stderr, unless -q.")
    save_seen: str | None = option(
        None, "Save the network's input for each image as a PNG in a folder.", metavar="DIR"
    )


@dataclass(frozen=True)
class ExportConfig:
    """Options of `mnist-export`."""

    format: str | None = option(
        None, "The format.", choices=tuple(ExportFormat), shown_default="by OUTPUT's ending"
    )
    no_clobber: bool = option(False, "Refuse to overwrite an existing output.")


@dataclass(frozen=True)
class Resume:
    """The checkpoint that a training continues."""

    resume: str | None = option(
        None,
        "Resume a checkpoint exactly; auto resumes --output if it exists, and else begins.",
        metavar="CHECKPOINT|auto",
        panel="What is trained",
    )


@dataclass(frozen=True)
class Recording:
    """Records of a training besides its checkpoint; they do not affect the result."""

    log_file: str | None = option(
        None,
        "Also write the events of --json to a file; a resumed training appends to it.",
        metavar="PATH",
        panel="Run and output",
    )
    tensorboard: str | None = option(
        None,
        "Write curves for TensorBoard to a new folder in this one.",
        metavar="DIR",
        panel="Run and output",
    )


@dataclass(frozen=True)
class Display:
    """The output of a program."""

    quiet: bool = option(False, "Nothing on stderr but warnings and errors.", short="-q")
    json: bool = option(False, "JSON Lines on stdout.")


def resolve_format(output: str, requested: str | None = None) -> ExportFormat:
    """Return the requested format, or else the one that the ending of `output` names.

    Raises:
        UsageError: there is no such format, or the package that it needs cannot be imported.

    """
    found = _from_ending(output) if requested is None else _from_name(requested)
    if found is ExportFormat.ONNX:
        try:
            import_module("onnx.checker")  # a folder called onnx would be importable as well
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise UsageError(
                f"ONNX needs the package onnx ({reason}): pip install 'mnist_cli[onnx]'"
            ) from error
    return found


def _from_name(name: str) -> ExportFormat:
    try:
        return ExportFormat(name)
    except ValueError:
        hint = suggestion(name, ExportFormat)
        raise UsageError(f"--format {name} is not one of {', '.join(ExportFormat)}{hint}") from None


def _from_ending(output: str) -> ExportFormat:
    if output == "-":
        raise UsageError(
            f"- as OUTPUT has no ending; name the format: --format {'|'.join(ExportFormat)}"
        )
    ending = PurePath(output).suffix.lower()
    endings = {f".{each}": each for each in ExportFormat}
    if ending in endings:
        return endings[ending]
    *others, last = endings
    hint = suggestion(ending, endings) if ending else ""
    raise UsageError(
        f"OUTPUT '{output}' does not end in {', '.join(others)} or {last}{hint}; "
        "the ending, or --format, decides what is written"
    )
