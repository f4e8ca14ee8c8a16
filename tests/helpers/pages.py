"""The commands of the documentation, and what makes them quick."""

import re

from tests.torture.amount import LONG

# Every command runs as printed, but on fewer samples, for one epoch and by default with the
# smallest network, unless the amount is LONG.
FEW = {"MNIST_SUBSET": "2000"}
if not LONG:
    FEW |= {
        "MNIST_EPOCHS": "1",
        "MNIST_SEEDS": "1",
        "MNIST_MODEL": "linear",
        "MNIST_DATASET": "qmnist",
    }


def blocks(page: str, *languages: str) -> list[str]:
    """Return the blocks of code in some languages."""
    return re.findall(rf"```(?:{'|'.join(languages)})\n(.*?)```", page, re.DOTALL)


def section(page: str, title: str) -> str:
    """Return the text of a page under a heading of the second level."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def commands_of(page: str) -> list[str]:
    """Return the commands of a page, in the order in which a reader types them."""
    typed = []
    for kind, block in re.findall(r"```(sh|console)\n(.*?)```", page, re.DOTALL):
        lines = block.splitlines()
        typed += lines if kind == "sh" else [ln[2:] for ln in lines if ln.startswith("$ ")]
    return typed


def shortened(script: str) -> str:
    """Return commands with one epoch, one seed and few updates, unless the amount is LONG."""
    if LONG:
        return script
    script = re.sub(r"(epochs|seeds)( |=)\d+", r"\1\g<2>1", script)
    return re.sub(r"(--updates) \d+", r"\1 10", script)
