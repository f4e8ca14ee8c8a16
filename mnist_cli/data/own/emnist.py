"""EMNIST: the names of its files, and of its classes.

Its images are stored with rows and columns exchanged, which no pixel tells, but the names do.
Source: Cohen, Afshar, Tapson and van Schaik, "EMNIST: an extension of MNIST to handwritten
letters" (2017), and the mapping files of its distribution.
"""

import re

from mnist_cli.data.catalogue import CATALOGUE

# The character of each label, by the name of the split.
EMNIST_CLASSES = {
    source.split: {
        str(label): name for label, name in enumerate(source.classes, start=source.first_label)
    }
    for source in CATALOGUE.values()
    if source.split
}
_NAME = re.compile(rf"emnist-({'|'.join(EMNIST_CLASSES)})-(?:train|test)")


def emnist_split(name: str) -> str | None:
    """Return the split of EMNIST whose file has this name or path; None for others."""
    found = _NAME.search(re.split(r"[/\\]", name.lower())[-1])
    return found[1] if found else None
