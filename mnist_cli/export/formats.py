"""Which format an export has; answers without importing torch."""

from importlib import import_module
from pathlib import PurePath

from mnist_cli.config.inference import FORMATS
from mnist_cli.config.suggestions import suggestion
from mnist_cli.errors import UsageError

_INSTALL = "pip install 'mnist_cli[onnx]'"


def format_of(output: str, asked: str | None = None) -> str:
    """Return `html`, `onnx` or `safetensors`: what is asked for, or what the output's ending says.

    Raises:
        UsageError: neither says it, or a package that the format needs cannot be imported.

    """
    found = asked or _ending(output)
    if found == "onnx":
        try:
            import_module("onnx.checker")  # and not some folder called onnx
        except ImportError as error:
            why = " ".join(str(error).split())
            raise UsageError(f"ONNX needs the package onnx ({why}): {_INSTALL}") from error
    return found


def _ending(output: str) -> str:
    if output == "-":
        choices = "|".join(FORMATS)
        raise UsageError(f"- as OUTPUT has no ending; name the format: --format {choices}")
    ending = PurePath(output).suffix.removeprefix(".").lower()
    if ending in FORMATS:
        return ending
    endings = [f".{name}" for name in FORMATS]
    near = suggestion(f".{ending}", endings) if ending else ""
    raise UsageError(
        f"OUTPUT '{output}' does not end in {', '.join(endings[:-1])} or {endings[-1]}{near}; "
        "the ending, or --format, decides what is written"
    )
