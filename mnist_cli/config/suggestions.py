"""What somebody may have meant by a word that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches

# What other programs and papers call it; each stands for the first of its words that is known.
_OTHER_NAMES = {
    "gpu": ("cuda",),
    "full": ("batch",),
    "full-batch": ("batch",),
    "stochastic": ("mini-batch",),
    "conv": ("cnn",),
    "convnet": ("cnn",),
    "dense": ("mlp",),
    "softmax": ("linear",),
    "logistic": ("linear",),
    "fashion": ("fashion-mnist",),
    "adam": ("adamw",),
    "none": ("constant",),
    "evaluate": ("eval",),
    "test": ("eval", "test"),
    "fit": ("train",),
    "bench": ("compare",),
}
_OTHER_OPTIONS = {
    "--adam": "--optimizer adamw",
    "--arch": "--model",
    "--architecture": "--model",
    "--batch": "--batch-size",
    "--bs": "--batch-size",
    "--checkpoint": "--output",
    "--checkpoint-every": "--save-every",
    "--cpu": "--device cpu",
    "--cuda": "--device cuda",
    "--data": "--data-dir",
    "--data-path": "--data-dir",
    "--data-root": "--data-dir",
    "--dry-run": "--show-config",
    "--early-stopping": "--until-accuracy",
    "--full-batch": "--mode batch",
    "--gpu": "--device cuda",
    "--iterations": "--max-updates",
    "--jobs": "--threads",
    "--learning-rate": "--lr",
    "--lr-schedule": "--schedule",
    "--lr-scheduler": "--schedule",
    "--max-epochs": "--epochs",
    "--max-steps": "--max-updates",
    "--net": "--model",
    "--network": "--model",
    "--no-cuda": "--device cpu",
    "--no-gpu": "--device cpu",
    "--num-epochs": "--epochs",
    "--num-samples": "--subset",
    "--num-workers": "--threads",
    "--opt": "--optimizer",
    "--out": "--output",
    "--preset": "--config",
    "--random-seed": "--seed",
    "--root": "--data-dir",
    "--save": "--output",
    "--save-dir": "--output",
    "--save-model": "--output",
    "--scheduler": "--schedule",
    "--sgd": "--optimizer sgd",
    "--silent": "--quiet",
    "--steps": "--max-updates",
    "--target-accuracy": "--until-accuracy",
    "--threshold": "--min-accuracy",
    "--use-cuda": "--device cuda",
    "--val-split": "--val-size",
    "--validation-split": "--val-size",
    "--wd": "--weight-decay",
    "--workers": "--threads",
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is nearest, whatever its capitals and hyphens, or nothing."""
    plain = {_plain(candidate): candidate for candidate in known}
    for other in _OTHER_NAMES.get(_plain(word), ()):
        if other in plain:
            return plain[other]
    near = get_close_matches(_plain(word), list(plain), n=1)
    return plain[near[0]] if near else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, or nothing."""
    near = nearest(word, known)
    return f"; did you mean '{near}'?" if near else ""


def nearest_option(wrong: str, known: Iterable[str]) -> str | None:
    """Return what to type for an option that does not exist, such as `--device cuda` for `--gpu`.

    An option that belongs to another program alone is not proposed.
    """
    known = list(known)
    name = wrong.partition("=")[0].lower().replace("_", "-")
    name = f"--{name.lstrip('-')}"
    if name in known:
        return name
    other = _OTHER_OPTIONS.get(name, "")
    if other.partition(" ")[0] in known:
        return other
    if name == "--test-batch-size" and "--epochs" in known:  # a training's is another thing
        return None
    near = get_close_matches(name, known, n=1, cutoff=0.7)
    return near[0] if near else None


def _plain(word: str) -> str:
    return word.lower().replace("_", "-")
