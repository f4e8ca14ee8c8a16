"""The variants of a comparison: what its runs with the same seed differ in."""

from collections.abc import Callable
from dataclasses import dataclass

from mnist_cli.config.batch_schedule import check_enough_samples
from mnist_cli.config.compare import FULL, CompareConfig, ResolvedComparison, settings_of, sizes_in
from mnist_cli.errors import UsageError


@dataclass(frozen=True)
class Variant:
    """A batch size and, with `--vary`, the setting of an option, such as `momentum 0.9`.

    `names_size` is false if all variants of the comparison have the same batch size.
    """

    batch_size: int | str
    setting: str | None = None
    names_size: bool = True

    @property
    def label(self) -> str:
        """The short name for tables and curves, such as `64` or `64, momentum 0.9`."""
        parts = [str(self.batch_size)] if self.names_size or self.setting is None else []
        return ", ".join([*parts, *([self.setting] if self.setting is not None else [])])

    @property
    def phrase(self) -> str:
        """The name within a sentence, such as `batches of 64` or `batch mode, momentum 0.9`."""
        size = "batch mode" if self.batch_size == FULL else f"batches of {self.batch_size:,}"
        parts = [size] if self.names_size or self.setting is None else []
        return ", ".join([*parts, *([self.setting] if self.setting is not None else [])])


def variants_of(
    config: CompareConfig, samples_of: Callable[[ResolvedComparison], int]
) -> dict[Variant, ResolvedComparison]:
    """Return the variants of a comparison, each with its resolved options.

    `samples_of` returns the number of training samples with the options of a variant.

    Raises:
        UsageError: a batch size is invalid, repeated, or larger than the training set, or an option
            does not take one of the values.

    """
    sizes = sizes_in(config.batch_sizes)
    settings = settings_of(config)
    for _, varied in settings:
        samples = samples_of(varied)
        for size in sizes:
            if size is not None and size > samples:
                raise UsageError(
                    f"--batch-sizes {config.batch_sizes}: {size} is more than the {samples:,} "
                    "training samples; full takes all of them"
                )
        check_enough_samples(varied.batch_schedule, samples)
    return {
        Variant(FULL if size is None else size, setting, names_size=len(sizes) > 1): varied
        for size in sizes
        for setting, varied in settings
    }
