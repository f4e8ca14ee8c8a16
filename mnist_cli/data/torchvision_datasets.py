"""The one place that imports torchvision.

torchvision's wheel on the Python package index is built for CUDA. Beside a CPU build of torch its
C++ operators cannot load, and `import torchvision` dies with `operator torchvision::nms does not
exist`: its Python half registers shape functions for operators that were never defined. Only that
Python half is needed here, so where the native library does not load, the two missing operators
are declared, without an implementation, before the import.
"""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

_MISSING_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def import_datasets() -> ModuleType:
    """Return `torchvision.datasets`, whether or not torchvision's operators fit this torch.

    Raises:
        ImportError: torchvision is not installed.

    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed")
    if not _operators_load(Path(spec.origin).parent):
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in _MISSING_OPERATORS:
            library.define(operator)  # type: ignore[no-untyped-call]
        _declared.append(library)
    from torchvision import datasets  # noqa: PLC0415

    return datasets  # type: ignore[no-any-return]


_declared: list[torch.library.Library] = []  # a declaration ends with the object that made it


def _operators_load(folder: Path) -> bool:
    for library in folder.glob("_C*"):
        try:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return True
    return False
