"""Suggestions for misspelled names, and for names that other programs use."""

from collections.abc import Iterable
from difflib import get_close_matches

from mnist_cli.config.quoting import quote

# Names from other programs and papers, with the names that they may mean here: the first that is
# known is suggested.
_SYNONYMS = {
    "gpu": ("cuda",),
    "full": ("batch",),
    "full-batch": ("batch",),
    "stochastic": ("mini-batch",),
    "convnet": ("cnn",),
    "softmax": ("linear",),
    "logistic": ("linear",),
    "fashion": ("fashion-mnist",),
    "none": ("constant",),
    "evaluate": ("eval",),
    "test": ("eval", "test"),
}
_OPTION_SYNONYMS = {
    "--arch": "--model",
    "--bs": "--batch-size",
    "--cpu": "--device cpu",
    "--cuda": "--device cuda",
    "--data": "--data-dir",
    "--dry-run": "--show-config",
    "--full-batch": "--mode batch",
    "--gpu": "--device cuda",
    "--iterations": "--max-updates",
    "--learning-rate": "--lr",
    "--no-augment": "--augment none",
    "--no-cuda": "--device cpu",
    "--num-workers": "--threads",
    "--save-model": "--output",
    "--steps": "--max-updates",
    "--threshold": "--min-accuracy",
    "--validation-split": "--val-size",
    "--wd": "--weight-decay",
    "--workers": "--threads",
}
# What values may mean that an option does not take.
_VALUE_HINTS = {
    "batch_size": dict.fromkeys(("full", "all", "batch"), "for all samples use --mode batch"),
    "augment": {
        **dict.fromkeys(("true", "yes", "on", "1"), "for shifted images use shift"),
        **dict.fromkeys(("false", "no", "off", "0"), "for unchanged images use none"),
    },
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar, ignoring case and hyphens, or `None`."""
    plain = {_plain(candidate): candidate for candidate in known}
    for synonym in _SYNONYMS.get(_plain(word), ()):
        if synonym in plain:
            return plain[synonym]
    near = get_close_matches(_plain(word), list(plain), n=1)
    return plain[near[0]] if near else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the most similar known word, or an empty string."""
    near = nearest(word, known)
    return f"; did you mean '{near}'?" if near else ""


def not_one_of(value: object, known: Iterable[str]) -> str:
    """Return what is wrong with a value that is not one of the known words.

    The suggestion comes first, since the list of known words may be long.
    """
    known = list(known)
    names = ", ".join(known)
    if hint := suggestion(str(value), known):
        return f"{quote(value)} is unknown{hint} There are {names}"
    return f"{quote(value)} is not one of {names}"


def nearest_option(wrong: str, known: Iterable[str]) -> str | None:
    """Return a known option to suggest for an unknown one, such as `--device cuda` for `--gpu`."""
    known = list(known)
    name = wrong.partition("=")[0].lower().replace("_", "-")
    name = f"--{name.lstrip('-')}"
    if name in known:
        return name
    synonym = _OPTION_SYNONYMS.get(name, "")
    if synonym.partition(" ")[0] in known:
        return synonym
    swapped = (option for option in known if sorted(option) == sorted(name))  # as in --modle
    near = get_close_matches(name, known, n=1, cutoff=0.7)
    return next(swapped, near[0] if near else None)


def value_hint(option: str, value: object) -> str:
    """Return `; ` and what to do instead of giving a value to an option, or an empty string."""
    hint = _VALUE_HINTS.get(option, {}).get(str(value).lower())
    return f"; {hint}" if hint else ""


def _plain(word: str) -> str:
    return word.lower().replace("_", "-")
