"""Folders of pictures: which picture has which label, by the names of folders or of files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_cli.config.own_data import MAX_CLASSES
from mnist_cli.config.quoting import printable
from mnist_cli.data.own.samples import MIN_CLASSES, check_name
from mnist_cli.data.own.sources import Entry, Source
from mnist_cli.data.pictures.limits import ENDINGS
from mnist_cli.errors import DataError

_SPLITS = {
    **dict.fromkeys(("train", "training", "trainset", "trainingset", "traindata"), "train"),
    **dict.fromkeys(("trainimages", "trainingimages", "trainingdata"), "train"),
    **dict.fromkeys(("test", "testing", "testset", "testdata", "testimages", "t10k"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "valset"), "validation"),
    **dict.fromkeys(("validset", "validationset", "validdata", "validationdata"), "validation"),
}
_LABEL_IN_NAME = re.compile(r"([0-9]{1,2}|[A-Za-z])(?=[_\-. (]|$)")


@dataclass(frozen=True)
class Pictures:
    """Pictures with a label each; the labels are None if there are none."""

    place: str
    files: tuple[Entry, ...]
    labels: tuple[str, ...] | None


@dataclass(frozen=True)
class Layout:
    """The pictures of a data set, and what to tell about its folders."""

    train: Pictures
    test: Pictures | None
    notes: tuple[str, ...]


def is_picture(entry: Entry) -> bool:
    """Return True if a file is a picture, by its name."""
    return entry.name.lower().endswith(ENDINGS)


def layout_of(source: Source) -> Layout:
    """Return the pictures of a folder or zip, with the labels that folders or names tell.

    Raises:
        DataError: the folders are not what they should be.

    """
    pictures = [entry for entry in source.entries if is_picture(entry)]
    paths = _without_wrapping([entry.parts for entry in pictures])
    tops = {path[0] for path in paths if len(path) > 1}
    splits = {top: _SPLITS.get(re.sub("[^a-z0-9]", "", top.lower())) for top in sorted(tops)}
    others = len(source.entries) - len(pictures)
    notes = []
    if others:
        first = next(entry for entry in source.entries if not is_picture(entry))
        notes.append(f"left out as no pictures: {others:,}, such as {printable(first.name)}")
    if "train" not in splits.values():
        if any(splits.values()):
            names = ", ".join(printable(top) for top in list(splits)[:4])
            raise DataError(
                f"{source.place} has the folders {names}, but none for training; name it train, or "
                "name the folder that has a folder for each class"
            )
        train = _labelled(source.place, pictures, paths)
        return Layout(train, None, ("a folder for each class" if tops else _IN_NAMES, *notes))
    stray = [top for top, split in splits.items() if not split]
    stray += [path[0] for path in paths if len(path) == 1][:1]
    if stray or len(set(splits.values())) < len(splits):
        names = ", ".join(printable(top) for top in [*splits, *stray][:5])
        raise DataError(
            f"{source.place} has {names}: besides train, test and val there may be nothing else, "
            "and each once; move the rest elsewhere"
        )
    parts: dict[str | None, Pictures] = {}
    classes = {path[1] for path in paths if splits[path[0]] == "train" and len(path) > 2}
    for top, split in splits.items():
        chosen = [at for at, path in enumerate(paths) if path[0] == top]
        inner = _without_wrapping([paths[at][1:] for at in chosen])
        place = f"{source.place}/{printable(top)}"
        if split == "validation":
            notes.append(
                f"{printable(top)} is left out, {len(chosen):,} pictures; --val-size takes "
                "validation samples from the training samples"
            )
        elif split == "test" and _are_unlabelled(inner, classes):
            notes.append(
                f"{printable(top)} has no labels, so it is no test set; mnist-predict reads it"
            )
        else:
            parts[split] = _labelled(place, [pictures[at] for at in chosen], inner)
    names = " and ".join(printable(top) for top, split in splits.items() if split in parts)
    return Layout(
        parts["train"], parts.get("test"), (f"a folder for each class in {names}", *notes)
    )


_IN_NAMES = "pictures whose names begin with their labels"


def _without_wrapping(paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return paths without a folder that holds all of them, as long as folders are left in it."""
    found = list(paths)
    while found and len({path[0] for path in found}) == 1 and all(len(p) > 2 for p in found):
        if re.sub("[^a-z0-9]", "", found[0][0].lower()) in _SPLITS:
            break
        found = [path[1:] for path in found]
    return found


def _are_unlabelled(paths: Sequence[tuple[str, ...]], classes: set[str]) -> bool:
    """Return True if pictures lie in one folder, which is no class, and have no label in a name."""
    folders = {path[:-1] for path in paths}
    in_class = any(classes.intersection(folder) for folder in folders)
    return len(folders) == 1 and not in_class and not _names_fit([path[-1:] for path in paths])


def _labelled(place: str, files: Sequence[Entry], paths: Sequence[tuple[str, ...]]) -> Pictures:
    """Return pictures with their labels: the names of their folders, or those in their names."""
    depths = {min(len(path), 3) for path in paths}
    if depths == {1}:
        if not _names_fit(paths):
            first = next((p[0] for p in paths if not _label_in(p[0])), paths[0][0])
            raise DataError(
                f"{place} has pictures without labels, such as {printable(first)}; put those of "
                "each class into a folder, or begin each name with its label: 3_0001.png"
            )
        labels = tuple(_label_in(path[0]) or "" for path in paths)
    elif depths == {2}:
        labels = tuple(path[0] for path in paths)
        for name in dict.fromkeys(labels):
            check_name(name, place)
    else:
        odd = next(path for path in paths if len(path) != 2)
        where = "deeper than" if len(odd) > 2 else "beside"
        raise DataError(
            f"{place}: the picture {printable('/'.join(odd))} lies {where} the folders of the "
            "classes; there has to be a folder for each class with pictures in it"
        )
    count = len(set(labels))
    if not MIN_CLASSES <= count <= MAX_CLASSES:
        shown = ", ".join(printable(name) for name in list(dict.fromkeys(labels))[:6])
        raise DataError(
            f"{place} has {count} {'class' if count == 1 else 'classes'} ({shown}"
            f"{', …' if count > 6 else ''}); {MIN_CLASSES} to {MAX_CLASSES} can be trained"
        )
    return Pictures(place, tuple(files), labels)


def _label_in(name: str) -> str | None:
    """Return the label that the name of a picture begins with, or None."""
    found = _LABEL_IN_NAME.match(name)
    return str(int(found[1])) if found and found[1].isdecimal() else found and found[1]


def _names_fit(paths: Sequence[tuple[str, ...]]) -> bool:
    """Return True if all names begin with a label, and do not just count the pictures."""
    labels = [_label_in(path[0]) for path in paths]
    is_counted = len(set(labels)) == len(labels) and any(len(label or "") > 1 for label in labels)
    return all(labels) and not is_counted
