"""The choice of an export's format; importing this module does not import torch."""

from importlib import import_module
from pathlib import PurePath

from mnist_cli.config.programs import ExportFormat
from mnist_cli.config.suggestions import not_one_of, suggestion
from mnist_cli.errors import UsageError


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
        raise UsageError(f"--format: {not_one_of(name, ExportFormat)}") from None


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
