"""The tables of what is predicted."""

from benchmarks.scaling.fit import Model
from benchmarks.scaling.markdown import ALPHA, NONE, TIMES, ms, size, table
from benchmarks.scaling.points import ALL
from benchmarks.scaling.predict import (
    ALGORITHMS,
    MOST,
    TARGET_SAMPLES,
    WIRES,
    AllReduce,
    Link,
    Wire,
    updates_to_target,
)

BATCHES = (64, 256, 1024, 4096, ALL)
TARGET_BATCHES = (16, 64, 256, 1024, 4096, TARGET_SAMPLES)
VERDICTS = ((0.95, "slower"), (1.05, "no gain"), (2, "hardly"), (4, "at under half"))  # below


def wires() -> str:
    """Return the networks that are assumed."""
    rows = [
        [wire.name, wire.about, f"{wire.latency * 1e6:g} µs", f"{wire.link.per_byte * 1e9:g} ns"]
        for wire in WIRES
    ]
    return table(["network", "as with", f"{ALPHA}, a message", "β, a byte"], rows, left=2)


def predicted(model: Model) -> str:
    """Return the milliseconds of updates with many ranks."""
    ranks = (1, 8, 32, 128, 512, MOST)
    rows = []
    for network in model.networks:
        training = model.training(network)
        for batch in BATCHES:
            cells = [
                " / ".join(ms(training.seconds(batch, p, wire.link)) for wire in WIRES)
                if p > 1
                else ms(training.seconds(batch, 1, WIRES[0].link))
                for p in ranks
                if p <= batch
            ]
            rows.append([network, size(batch), *cells, *[NONE] * (len(ranks) - len(cells))])
    return table(["network", "update of", *map(str, ranks)], rows, left=2)


def optimum(model: Model) -> str:
    """Return the best numbers of ranks, and what they bring."""
    rows = []
    for network in model.networks:
        training = model.training(network)
        for batch in BATCHES:
            cells = [network, size(batch)]
            for wire in WIRES:
                for all_reduce in ALGORITHMS.values():
                    best = training.best(batch, wire.link, all_reduce)
                    gain = training.speedup(batch, best, wire.link, all_reduce)
                    half = training.efficient(batch, wire.link, all_reduce)
                    cells.append(f"{best}: {gain:.3g}{TIMES} ({half})")
            rows.append(cells)
    heading = [f"{wire.name}, {name}" for wire in WIRES for name in ALGORITHMS]
    return table(["network", "update of", *heading], rows, left=2)


def latency(model: Model) -> str:
    """Return what the best numbers of ranks bring with other latencies."""
    assumed = {f"{ALPHA} = {1e6 * a:g} µs": a for a in (1e-6, 5e-6, 25e-6, 100e-6)}
    assumed[f"as measured, {1e6 * model.pair.latency:.0f} µs"] = model.pair.latency
    rows = []
    for network in model.networks:
        training = model.training(network)
        for batch in (64, 1024, ALL):
            cells = [network, size(batch)]
            for seconds in assumed.values():
                link = Link(seconds, WIRES[0].link.per_byte)
                best = training.best(batch, link)
                cells.append(f"{best}: {training.speedup(batch, best, link):.3g}{TIMES}")
            rows.append(cells)
    return table(["network", "update of", *assumed], rows, left=2)


def target(model: Model) -> str:
    """Return the seconds to the target, and the least of them."""
    training = model.training("mlp")
    cases = [(wire, name) for wire in WIRES for name in ALGORITHMS]

    def seconds(batch: int, ranks: int, wire: Wire, all_reduce: AllReduce) -> float:
        return updates_to_target(batch) * training.seconds(batch, ranks, wire.link, all_reduce)

    def quickest(batch: int, wire: Wire, name: str) -> tuple[float, int]:
        ranks = training.best(batch, wire.link, ALGORITHMS[name])
        return seconds(batch, ranks, wire, ALGORITHMS[name]), ranks

    alone = {b: updates_to_target(b) * training.share.at(b) for b in TARGET_BATCHES}
    rows = [
        [
            f"{batch:,}",
            f"{updates_to_target(batch):,.0f}",
            f"{alone[batch]:.3g} s",
            *("{:.3g} s ({})".format(*quickest(batch, *case)) for case in cases),
        ]
        for batch in TARGET_BATCHES
    ]
    heading = [f"{wire.name}, {name}" for wire, name in cases]
    made = table(["update of", "updates", "one process", *heading], rows)
    least = min(alone, key=lambda batch: alone[batch])
    lines = [f"- One process: {alone[least]:.3g} s, with updates of {least:,}."]
    for wire, name in cases:
        found = {batch: quickest(batch, wire, name) for batch in TARGET_BATCHES}
        batch = min(found, key=lambda batch: found[batch])
        time, ranks = found[batch]
        lines.append(
            f"- {wire.name}, {name}: {time:.3g} s, with updates of {batch:,} by {ranks} "
            f"rank{'s' * (ranks > 1)}: {alone[least] / time:.3g} times as fast, "
            f"{alone[least] - time:.2f} s less."
        )
    starts = {point.what.ranks: point.seconds for point in model.measured.of("start")}
    words = ", ".join(
        f"{seconds:.1f} s with {ranks} process{'es' * (ranks > 1)}"
        for ranks, seconds in starts.items()
    )
    lines.append(f"- Beside it, until the first update can begin (measured here): {words}.")
    return f"{made}\n\nThe quickest of each:\n\n" + "\n".join(lines)


def verdicts(model: Model) -> str:
    """Return how many times as fast eight ranks are, and whether that is worth it."""
    rows = []
    for network in model.networks:
        training = model.training(network)
        for batch in (64, 1024, ALL):
            cells = [network, size(batch)]
            for wire in WIRES:
                gain = training.speedup(batch, 8, wire.link)
                word = next((word for most, word in VERDICTS if gain < most), "worth it")
                cells.append(f"{gain:.2g}{TIMES}: {word}")
            rows.append(cells)
    heading = [f"8 ranks, {wire.name}" for wire in WIRES]
    return table(["network", "update of", *heading], rows, left=2)
