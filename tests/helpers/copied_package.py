"""Run the programs of a copy of the package, in a process that has imported this package.

`copied_package.py FOLDER ARGUMENTS` is `python -m mnist_cli ARGUMENTS` with the `mnist_cli` in a
folder.
"""

import sys
from importlib.util import find_spec
from runpy import run_module

if __name__ == "__main__":
    folder, *arguments = sys.argv[1:]
    for name in [*sys.modules]:
        if name.partition(".")[0] == "mnist_cli":
            del sys.modules[name]
    sys.path.insert(0, folder)
    found = find_spec("mnist_cli")
    assert found
    assert str(found.origin).startswith(folder), "and not the checkout"
    sys.argv = ["mnist_cli", *arguments]
    run_module("mnist_cli", run_name="__main__", alter_sys=True)
