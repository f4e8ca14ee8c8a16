"""The figure of a profile: throughput and memory against the batch size."""

from collections.abc import Sequence
from typing import Any

from mnist_cli.comparison.events import Throughput
from mnist_cli.output.figures import colour
from mnist_cli.output.figures.style import Figure, drawn


def draw(found: Sequence[Throughput], path: str) -> bytes:
    """Return the file of the figure, in the format of the path's ending."""
    ways = {
        "micro-batches": list({each.samples: each for each in reversed(found)}.values())[::-1],
        "one pass": [each for each in found if each.passes == 1],
    }

    def fill(figure: Figure) -> None:
        figure.set_size_inches(8, 3)
        speed, memory = axes = figure.subplots(1, 2)
        for number, (label, rows) in enumerate(ways.items()):
            style: Any = {"label": label, "color": colour(number), "marker": "o", "markersize": 3}
            timed = [each for each in rows if each.samples_per_second and each.lowest]
            sizes = [each.samples for each in timed]
            speed.plot(sizes, [each.samples_per_second for each in timed], **style)
            ranges = [[getattr(each, name) for each in timed] for name in ("lowest", "highest")]
            speed.fill_between(sizes, *ranges, color=colour(number), alpha=0.2, linewidth=0)
            known = [(each.samples, each.peak_bytes / 1e6) for each in rows if each.peak_bytes]
            memory.plot([size for size, _ in known], [peak for _, peak in known], **style)
        for each, label in zip(axes, ("samples per second", "peak memory (MB)"), strict=True):
            each.set(xscale="log", xlabel="samples in an update", ylabel=label)
        speed.set_yscale("log")
        memory.set_ylim(bottom=0)
        speed.legend()

    return drawn(fill, path)
