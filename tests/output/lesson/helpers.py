"""A page with the lesson's worker and nothing else, and a repetition of its random numbers."""

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import mnist_cli.output.lesson
from mnist_cli.data.splits import Split
from mnist_cli.models.layers import Flatten, Normalize
from mnist_cli.models.networks import linear

FOLDER = Path(mnist_cli.output.lesson.__file__).parent
MEASURED = """last.type === "state" && !last.playing
    && last.runs.every((run) => run.diverged || run.measuredAt === run.updates)"""
Floats = npt.NDArray[np.float32]

PAGE = """<!doctype html><meta charset="utf-8"><title>Worker</title>
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; worker-src blob:; img-src data:">
<link rel="icon" href="data:,">
<script type="text/plain" id="engine">ENGINE</script>
<script>
"use strict";
const code = new Blob([document.getElementById("engine").textContent], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(code));
const heard = [];  // every message, with the time it came
let listener = () => {};
worker.onmessage = ({ data }) => {
  // Only the last state keeps its weights: they are long.
  if (data.type === "state")
    for (const { type, runs } of heard)
      if (type === "state") for (const run of runs) delete run.weights;
  heard.push({ at: performance.now(), ...data });
  if (data.type === "error") console.error(data.text);
  listener();
};
worker.onerror = (event) => console.error(event.message);
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const plain = (key, value) => ArrayBuffer.isView(value) ? Array.from(value) : value;
/* Sends the messages and resolves with all that is heard until `enough`. */
function ask(messages, enough) {
  heard.length = 0;
  return new Promise((done, fail) => {
    setTimeout(() => fail(new Error(`waited for ${enough}`)), 90_000);
    listener = () => {
      if (!enough(heard)) return;
      listener = () => {};
      done(JSON.stringify(heard, plain));
    };
    for (const message of messages) worker.postMessage(message);
  });
}
</script>"""


class WorkerPage:
    """The worker in a browser: it gets messages and tells what it answers."""

    def __init__(self, view: Any, folder: Path, train: Split, test: Split) -> None:
        engine = "".join(
            (FOLDER / name).read_text() for name in ("engine.js", "plane.js", "worker.js")
        )
        path = folder / "worker.html"
        path.write_text(PAGE.replace("ENGINE", engine))
        self.view = view
        self.complaints: list[str] = []
        view.on("console", lambda message: self.complaints.append(message.text))
        view.on("pageerror", lambda error: self.complaints.append(str(error)))
        view.goto(path.as_uri())
        self.use(train, test)

    def use(self, train: Split, test: Split) -> None:
        """Give the worker its samples."""
        texts = {
            f"{name}_{part}": base64.b64encode(tensor.numpy().tobytes()).decode()
            for name, split in (("train", train), ("test", test))
            for part, tensor in (("pixels", split.images), ("labels", split.labels))
        }
        message = """{ type: "data",
            train: { pixels: bytesOf(texts.train_pixels), labels: bytesOf(texts.train_labels) },
            test: { pixels: bytesOf(texts.test_pixels), labels: bytesOf(texts.test_labels) } }"""
        self.view.evaluate(
            f"(texts) => ask([{message}], (heard) => heard.at(-1).type === 'ready')", texts
        )

    def ask(self, *messages: dict[str, Any], until: str) -> list[dict[str, Any]]:
        """Send messages; return what is heard until an expression of `last` and `heard` holds."""
        enough = f"(heard) => {{ const last = heard.at(-1); return {until}; }}"
        heard = self.view.evaluate(f"(messages) => ask(messages, {enough})", list(messages))
        assert not self.complaints, self.complaints
        found: list[dict[str, Any]] = json.loads(heard)
        return found

    def configure(
        self, *runs: dict[str, Any], seed: int = 0, in_order: bool = False
    ) -> list[dict[str, Any]]:
        """Configure the runs, and wait until their starts are measured."""
        message = {"type": "configure", "seed": seed, "sorted": in_order, "runs": list(runs)}
        return self.ask(message, until=MEASURED)

    def finish(self, **message: Any) -> list[dict[str, Any]]:
        """Send a message; return what is heard until the worker has stopped and measured."""
        return self.ask(message, until=MEASURED)

    def step(self, updates: int = 1, index: int | None = None) -> dict[str, Any]:
        """Make updates and return the state after them."""
        return self.finish(type="step", run=index, updates=updates)[-1]

    def play(self, **changes: Any) -> list[dict[str, Any]]:
        """Play at full speed to the end."""
        usual = {"pace": "updates", "rate": 0, "measure": "some", "until": None}
        return self.finish(type="play", **{**usual, **changes})


def run(network: str, batch_size: int, lr: float = 0.05, shuffle: bool = True) -> dict[str, Any]:
    return {"network": network, "batchSize": batch_size, "lr": lr, "shuffle": shuffle}


def curves(
    heard: list[dict[str, Any]], index: int = 0
) -> tuple[list[list[float]], list[list[float]]]:
    """Return the points of a run, of single batches and of all samples."""
    batch: list[list[float]] = []
    full: list[list[float]] = []
    for message in heard:
        if message["type"] == "points" and message["run"] == index:
            if message["reset"]:
                batch, full = [], []
            batch += message["batchLoss"]
            full += message["full"]
    return batch, full


def _mix(bits: int) -> int:
    bits = ((bits ^ (bits >> 16)) * 0x85EBCA6B) % 2**32
    bits = ((bits ^ (bits >> 13)) * 0xC2B2AE35) % 2**32
    return bits ^ (bits >> 16)


def random_stream(seed: int, stream: int, epoch: int) -> Callable[[], float]:
    """Return the draws of engine.js at an address: Mulberry32."""
    state = 0
    for part in (seed, stream, epoch):
        state = _mix((state + part + 0x9E3779B9) % 2**32)

    def draw() -> float:
        nonlocal state
        state = (state + 0x6D2B79F5) % 2**32
        bits = (state ^ (state >> 15)) * (state | 1) % 2**32
        bits ^= (bits + (bits ^ (bits >> 7)) * (bits | 61)) % 2**32
        return (bits ^ (bits >> 14)) / 2**32

    return draw


def shuffled_order(count: int, seed: int, epoch: int) -> list[int]:
    draw = random_stream(seed, 2, epoch)
    order = list(range(count))
    for n in range(count - 1, 0, -1):
        other = math.floor(draw() * (n + 1))
        order[n], order[other] = order[other], order[n]
    return order


def initial_weights(network: str, seed: int) -> Floats:
    """Return the weights as the engine stores them: [inputs][outputs], biases, layer by layer."""
    if network == "linear":
        return np.zeros(785 * 10, np.float32)
    draw = random_stream(seed, 1, 0)

    def normal() -> float:
        return math.sqrt(-2 * math.log(1 - draw())) * math.cos(2 * math.pi * draw())

    parts = [
        np.array(
            [math.sqrt(2 / inputs) * normal() for _ in range(inputs * outputs)] + [0.0] * outputs
        )
        for inputs, outputs in ((784, 32), (32, 10))
    ]
    return np.concatenate(parts).astype(np.float32)


def network_of(name: str, weights: Floats) -> nn.Module:
    """Return a network with weights in the engine's layout."""
    hidden = [Normalize(), Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10)]
    model = linear() if name == "linear" else nn.Sequential(*hidden)
    at = 0
    with torch.no_grad():
        for layer in _dense_layers(model):
            rows, outputs = layer.in_features + 1, layer.out_features
            part = torch.from_numpy(weights[at : at + rows * outputs]).view(rows, outputs)
            layer.weight.copy_(part[:-1].T)
            layer.bias.copy_(part[-1])
            at += rows * outputs
    return model


def weights_of(model: nn.Module) -> Floats:
    """Return a network's weights in the engine's layout."""
    parts = [torch.cat([layer.weight.T, layer.bias[None]]) for layer in _dense_layers(model)]
    weights: Floats = torch.cat([part.flatten() for part in parts]).detach().numpy()
    return weights


def _dense_layers(model: nn.Module) -> list[nn.Linear]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
