"""Options of the programs that do not train, and those outside the configs."""

from dataclasses import dataclass
from enum import StrEnum

from mnist_cli.config.options import (
    DATASETS,
    DEVICES,
    TEN_CLASSES,
    data_dir_option,
    label_column_option,
    max_value_option,
    model_option,
    option,
    transposed_option,
)

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
        None,
        "The data set. PATH is your own, as for mnist-train; without a test set, all of it is one.",
        choices=DATASETS,
        takes_data=True,
        shown_default="as trained on",
    )
    label_column: str | None = label_column_option()
    max_value: float | None = max_value_option()
    transposed: bool = transposed_option()
    data_dir: str | None = data_dir_option()
    model: str | None = model_option()
    device: str = option("auto", "Where to compute.", choices=DEVICES)
    split: str = option(
        "test",
        "The samples to evaluate on: test, or those that the run used as train or val.",
        choices=SPLITS,
    )
    batch_size: int = option(
        1000, "Samples in one forward pass; never changes the result.", metavar="N", minimum=1
    )
    tta: bool = option(
        False,
        "Also print the score with test-time augmentation: the mean of the probabilities for the "
        "image and its eight shifts by one pixel. It never replaces the plain score.",
    )
    corruptions: bool = option(
        False,
        "Also evaluate the images shifted, rotated, blurred and so on, each in five strengths, and "
        "list those whose label the network doubts most.",
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
        is_path=True,
    )
    open: bool = option(False, "Open the page of --report in a browser.")
    plot: str | None = option(
        None, "Draw a figure: a file that ends in .png, .svg or .pdf.", metavar="PATH", is_path=True
    )
    panel: str = option(
        "auto",
        "What --plot shows; auto goes by the file's name, or else confusion.",
        choices=PANELS,
    )


@dataclass(frozen=True)
class PredictConfig:
    """Options of `mnist-predict`."""

    model: str | None = model_option()
    device: str = option("auto", "Where to compute.", choices=DEVICES)
    uncertain_below: float | None = option(
        None,
        "Call a prediction uncertain if its probability is below P.",
        metavar="P",
        minimum=0,
        maximum=1,
        shown_default="by model",
    )
    all: bool = option(False, "Predict every digit in an image, and add its box to the line.")
    show: bool = option(False, "Draw the network's input for each image on stderr, unless -q.")
    csv: str | None = option(
        None,
        "Write the predictions to a CSV file instead of stdout: ImageId,Label for the rows of a "
        "table, as Kaggle takes them; image,label,probability for pictures.",
        metavar="PATH",
        is_path=True,
    )
    save_seen: str | None = option(
        None,
        "Save the network's input for each image as a PNG in a folder.",
        metavar="DIR",
        is_path=True,
    )


@dataclass(frozen=True)
class ExportConfig:
    """Options of `mnist-export`."""

    model: str | None = model_option()
    format: str | None = option(
        None, "The format.", choices=tuple(ExportFormat), shown_default="by OUTPUT's ending"
    )
    no_clobber: bool = option(False, "Refuse to overwrite an existing output.")
    open: bool = option(False, "Open the page in a browser.")


@dataclass(frozen=True)
class LessonConfig:
    """Options of `mnist-lesson`."""

    dataset: str = option("mnist", "The data set.", choices=TEN_CLASSES)
    data_dir: str | None = data_dir_option()
    samples: int = option(
        2000,
        "Training samples in the page, as many of each class.",
        metavar="N",
        minimum=100,
        maximum=60_000,
    )
    no_clobber: bool = option(False, "Refuse to overwrite an existing output.")
    open: bool = option(False, "Open the page in a browser.")


@dataclass(frozen=True)
class Serving:
    """Options of the programs that serve the page that they write."""

    serve: bool = option(False, "Serve the page, and nothing else, until Ctrl-C.")
    host: str = option(
        "127.0.0.1",
        "The address at which --serve listens: 127.0.0.1 is open to this machine alone, 0.0.0.0 "
        "to all of its networks.",
        metavar="ADDRESS",
    )
    port: int = option(
        8000, "The port of --serve; 0 takes a free one.", metavar="N", minimum=0, maximum=65535
    )


@dataclass(frozen=True)
class Resume:
    """The checkpoint that a training continues."""

    resume: str | None = option(
        None,
        "Resume a checkpoint exactly; auto resumes --output if it exists, and else begins.",
        metavar="CHECKPOINT|auto",
        is_path=True,
        panel="What is trained",
    )


@dataclass(frozen=True)
class Expectation:
    """What a repeated training has to end with."""

    expect_weights: str | None = option(
        None,
        "Exit with 5 if the weights in the end have another SHA-256, and say what differs from the "
        "training whose checkpoint --config names.",
        metavar="SHA256",
        panel="Run and output",
    )


@dataclass(frozen=True)
class Recording:
    """Records of a training besides its checkpoint; they do not affect the result."""

    log_file: str | None = option(
        None,
        "Also write the events of --json to a file; a resumed training appends to it.",
        metavar="PATH",
        is_path=True,
        panel="Run and output",
    )
    tensorboard: str | None = option(
        None,
        "Write curves for TensorBoard to a new folder in this one.",
        metavar="DIR",
        is_path=True,
        panel="Run and output",
    )
    plot: str | None = option(
        None,
        "Draw loss and accuracy at the end: a file that ends in .png, .svg or .pdf.",
        metavar="PATH",
        is_path=True,
        panel="Run and output",
    )


@dataclass(frozen=True)
class Display:
    """The output of a program."""

    quiet: bool = option(False, "Nothing on stderr but warnings and errors.", short="-q")
    json: bool = option(False, "JSON Lines on stdout.")
