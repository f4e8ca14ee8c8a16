"""Networks of one's own, from Python files."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mnist_cli.config.network_file import begun, is_network_file, read_network_file
from mnist_cli.config.programs import EvalConfig, ExportConfig
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.catalogue import MEAN, STD
from mnist_cli.data.splits import Split
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.evaluation.evaluate import evaluate_checkpoint
from mnist_cli.export.export import export_checkpoint
from mnist_cli.models.checkpoint import decode, encode, load_checkpoint
from mnist_cli.models.networks import build_model
from mnist_cli.models.own import Behaviour, behaviour_of, builder_of
from mnist_cli.training.train import train
from tests.helpers.trainings import Configure, end_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_net.py"
HEAD = """
import torch
from torch import nn
from torch.nn import functional as F

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 5, stride=4)
        self.norm = nn.Identity()
        self.last = nn.Linear(4 * 36, 10)

    def forward(self, images):
        return self.last(self.norm(F.relu(self.first(images / 255))).flatten(1))

class Normed(Plain):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

class Dropped(Plain):
    def __init__(self):
        super().__init__()
        self.norm = nn.Dropout(0.3)
"""
File = Callable[..., str]


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Return a function that writes a file of networks, and returns the value of `--model`."""

    def write(name: str, text: str = "", path: str = "nets.py") -> str:
        (tmp_path / path).write_text(HEAD + text)
        return f"{tmp_path / path}:{name}"

    return write


def problem_of(model: str) -> str:
    with pytest.raises(UsageError) as raised:
        build_model(model)
    return str(raised.value)


def test_the_example_is_a_network_with_its_own_defaults() -> None:
    model = f"{EXAMPLE}:Net"
    network = build_model(model)
    assert network(torch.zeros(3, 28, 28, dtype=torch.uint8)).shape == (3, 10)
    assert behaviour_of(network, model) == Behaviour()
    config = TrainConfig(model=model).resolve(1000)
    assert (config.lr, config.label_smoothing, config.augment) == (3e-3, 0.1, "shift")
    assert TrainConfig(model=model, lr=0.5, optimizer="sgd").resolve(1000).lr == 0.5
    assert config.model == begun(model) == f"Net@{read_network_file(model).sha256}"


def test_weights_follow_the_seed_and_not_what_was_drawn_before(file: File) -> None:
    model = file("Plain")
    first = build_model(model, seed=1).state_dict()
    torch.rand(5)
    again, other = (build_model(model, seed=seed).state_dict() for seed in (1, 2))
    assert all(map(torch.equal, first.values(), again.values()))
    assert not torch.equal(first["last.weight"], other["last.weight"])


def test_images_are_from_0_to_255_or_normalised_if_the_file_says_so(file: File) -> None:
    text = """
class Sees(Plain):
    def forward(self, images):
        self.seen = images
        return super().forward(images)
"""
    pixels = torch.tensor([[0, 255]], dtype=torch.uint8).repeat(2, 14 * 28)[:, : 28 * 28]
    plain = build_model(file("Sees", text, path="plain.py"))
    plain(pixels.view(2, 28, 28))
    assert plain.seen.shape == (2, 1, 28, 28)
    assert plain.seen.unique().tolist() == [0.0, 255.0]
    normed = build_model(file("Sees", f"{text}OPTIONS = {{'normalized': True}}", path="normed.py"))
    normed(pixels.view(2, 1, 28, 28))
    expected = torch.tensor([-MEAN / STD, (1 - MEAN) / STD])
    torch.testing.assert_close(normed.seen.unique(), expected)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Plane", "", "no class or function 'Plane'; did you mean 'Plain'?"),
        ("F", "", "no class or function 'F'"),
        ("four", "def four():\n    return 4", "four() returns 4, which is no torch.nn.Module"),
        ("Net", "1 / 0", "line 25: it raises ZeroDivisionError: division by zero"),
        ("Net", "import nothing_of_this_name", "it raises ModuleNotFoundError"),
        ("Net", "raise SystemExit(3)", "it raises SystemExit: 3"),
        ("Net", "class Net(Plain):\n  def __init__(self, a): pass", "Net() raises TypeError"),
        ("Net", "def Net():\n  return nn.Linear(3, 10)", "its forward pass raises RuntimeError"),
        ("Net", "def Net():\n  return nn.Flatten()", "torch.float32 [2, 784] instead of logits"),
        (
            "Net",
            "class Net(Plain):\n  def forward(self, x): return None",
            "it returns a NoneType, and no tensor",
        ),
        (
            "Net",
            "class Net(nn.Module):\n  def forward(self, x): return x[:, 0, 0, :10]",
            "it has no parameters to train",
        ),
    ],
)
def test_what_is_wrong_with_a_network_is_told(
    file: File, name: str, text: str, message: str
) -> None:
    assert message in problem_of(file(name, text))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("", b"", "name the class or function, as in"),
        ("a b", b"", "'a b' is not a name"),
        ("Net", None, "there is no file"),
        ("Net", b"class Net(", "line 1: '(' was never closed; it is not valid Python"),
        ("Net", b"a = '\xff'", "a character in line 1 is not UTF-8"),
        ("Net", b"#" * (1 << 20) + b"#", "is larger than 1 MiB"),
        ("Net", b"a = '\0'", "cannot contain null bytes; it is not valid Python"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / "net.py"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_network_file(f"{path}:{name}")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{'lr': -1}", "has 'lr': -1; it is a number from 0 to"),
        ("{'lr': True}", "has 'lr': True; it is a number from 0 to"),
        ("{'lr': float('nan')}", "has to be a dictionary of plain values"),
        ("{'lr': 1e999}", "it is a number from 0 to"),
        ("{'epochs': 3}", "has 'epochs'; it may set optimizer, augment, lr"),
        ("{'optimizer': 3}", "it is the name of an optimizer"),
        ("{'augment': 'blur'}", "it is one of none, shift, affine, elastic"),
        ("{'normalized': 1}", "it is True or False"),
        ("[1]", "has to be a dictionary of plain values"),
        ("dict(lr=1)", "has to be a dictionary of plain values"),
    ],
)
def test_what_is_wrong_with_options_is_told(file: File, options: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        TrainConfig(model=file("Plain", f"OPTIONS = {options}")).resolve(100)
    assert message in str(raised.value)
    assert "line 25" in str(raised.value)


def test_an_unknown_optimizer_in_a_file_is_told(file: File) -> None:
    with pytest.raises(UsageError, match="optimizer: 'lion' is not one of sgd, adamw, muon"):
        TrainConfig(model=file("Plain", "OPTIONS = {'optimizer': 'lion'}")).resolve(100)


def test_reading_a_file_does_not_run_it(file: File, tmp_path: Path) -> None:
    model = file("Plain", f"open({str(tmp_path / 'ran')!r}, 'w').close()\nOPTIONS = {{'lr': 0.5}}")
    assert TrainConfig(model=model).resolve(100).lr == 0.5
    assert not (tmp_path / "ran").exists()
    build_model(model)
    assert (tmp_path / "ran").exists()


def test_how_a_network_acts_is_found_by_trying(file: File) -> None:
    expected = {
        "Plain": Behaviour(),
        "Normed": Behaviour(is_additive=False, changed="norm.running_mean"),
        "Dropped": Behaviour(is_random=True),
        "Chancy": Behaviour(is_random=True),
        "Mixed": Behaviour(is_additive=False),
        "Counting": Behaviour(changed="count"),
    }
    text = """
class Chancy(Plain):
    def forward(self, images):
        return super().forward(images + torch.randn_like(images) * self.training)

class Mixed(Plain):
    def forward(self, images):
        logits = super().forward(images)
        return logits - logits.mean(0) if self.training else logits

class Counting(Plain):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, images):
        if self.training:
            self.count += 1
        return super().forward(images)
"""
    for name, behaviour in expected.items():
        model = file(name, text)
        network = build_model(model)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        random = torch.get_rng_state()
        assert behaviour_of(network, model) == behaviour, name
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random)
        assert network.training


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("F.dropout(super().forward(x), 0.5)", "other logits each time; give F.dropout its"),
        ("super().forward(x) - super().forward(x).mean(0)", "depend on the other images"),
        ("super().forward(x) / 0", "values that are not finite"),
    ],
)
def test_predictions_have_to_follow_from_the_image_alone(
    file: File, body: str, message: str
) -> None:
    model = file("Net", f"class Net(Plain):\n  def forward(self, x): return {body}")
    with pytest.raises(UsageError) as raised:
        behaviour_of(build_model(model), model)
    assert message in str(raised.value)


@pytest.mark.parametrize("name", ["Plain", "Normed", "Dropped"])
@pytest.mark.parametrize("extras", [{}, {"ema": 0.9, "members": 2}])
def test_an_interrupted_training_ends_with_the_same_weights(
    name: str, extras: dict[str, float], file: File, small: Configure
) -> None:
    model = file(name)
    config = small(model=model, epochs=2, **extras)
    whole = end_of(config)
    half = end_of(replace(config, max_updates=7))
    assert half.weights_sha256 != whole.weights_sha256
    before = load_checkpoint(config.output, model)
    resumed = end_of(replace(config, max_updates=None), resume=before)
    assert resumed.weights_sha256 == whole.weights_sha256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"micro_batch_size": 10}, "--micro-batch-size 10 would divide updates of 50 samples"),
        ({"mode": "batch", "micro_batch_size": 99}, "give --micro-batch-size 200"),
        ({"probe": "noise"}, "--probe noise needs the gradient of each sample"),
    ],
)
@pytest.mark.parametrize("name", ["Normed", "Dropped"])
def test_what_would_divide_an_update_is_refused(
    options: dict[str, object], message: str, name: str, file: File, small: Configure
) -> None:
    if options.get("mode") == "batch":
        options = {**options, "batch_size": None}
    with pytest.raises(UsageError) as raised:
        list(train(small(model=file(name), **options)))
    assert message in str(raised.value)
    end_of(small(model=file("Plain"), **options))


def test_an_abandoned_update_leaves_the_running_means(
    file: File, small: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They change in the forward pass, before the update can be abandoned."""
    from mnist_cli.training import loop

    model = build_model(file("Normed"))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.randint(256, (8, 28, 28), dtype=torch.uint8)
    with pytest.raises(KeyboardInterrupt), loop.in_one_piece(model, 0, 0):
        model(images)
        assert not torch.equal(model.norm.running_mean, before["norm.running_mean"])
        raise KeyboardInterrupt
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_checkpoint_has_the_text_and_runs_nothing(
    file: File, small: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    model = file("Plain", f"open({str(ran)!r}, 'w').close()")
    config = small(model=model)
    end_of(config)
    ran.unlink()
    monkeypatch.setattr("mnist_cli.config.network_file._named", {})  # as in another process
    builder_of.cache_clear()
    checkpoint = load_checkpoint(config.output)
    assert checkpoint.network_file is not None
    assert checkpoint.network_file.text == Path(model.rpartition(":")[0]).read_text()
    assert not is_network_file(checkpoint.config.model)
    hint = f"is run only if you name it: --model {model}"
    for use in (
        checkpoint.build_model,
        lambda: evaluate_checkpoint(config.output, EvalConfig()),
        lambda: end_of(replace(checkpoint.config, epochs=9), resume=checkpoint),
        lambda: end_of(replace(checkpoint.config, output=str(tmp_path / "new.pt"))),
    ):
        with pytest.raises(UsageError, match="run only if you name it"):
            use()
    with pytest.raises(UsageError) as raised:
        checkpoint.build_model()
    assert hint in str(raised.value)
    assert not ran.exists()
    again = decode(encode(checkpoint), "again")
    assert asdict(again.config) == asdict(checkpoint.config)
    assert again.network_file == checkpoint.network_file
    load_checkpoint(config.output, model).build_model()
    assert ran.exists()


def test_a_changed_text_is_told_and_a_changed_network_refused(
    file: File, small: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    model = file("Plain")
    config = small(model=model)
    end_of(config)
    file("Plain", "# changed\n")
    with caplog.at_level(logging.WARNING):
        load_checkpoint(config.output, model).build_model()
    assert "nets.py has changed since the training: +1 -0 lines" in caplog.text
    file("Plain", "class Plain(Normed): pass")
    with pytest.raises(CheckpointError, match=r"not those of Plain: .*norm\.running_mean"):
        load_checkpoint(config.output, model).build_model()
    with pytest.raises(CheckpointError, match="not those of Plain"):
        end_of(replace(config, epochs=9), resume=load_checkpoint(config.output, model))
    with pytest.raises(CheckpointError, match="not those of Plain"):
        end_of(replace(config, init=config.output, output="other.pt"))
    with pytest.raises(UsageError, match="--model cnn differs from the checkpoint's Plain"):
        load_checkpoint(config.output, "cnn")


def test_another_networks_checkpoint_takes_no_file(file: File, small: Configure) -> None:
    config = small(model="linear")
    end_of(config)
    assert load_checkpoint(config.output, "linear").config.model == "linear"
    with pytest.raises(UsageError, match="differs from the checkpoint's linear; leave it out"):
        load_checkpoint(config.output, file("Plain"))


def test_frozen_parameters_stay_as_they_are(file: File, small: Configure) -> None:
    text = """
class Net(Plain):
    def __init__(self):
        super().__init__()
        self.first.requires_grad_(False)
"""
    model = file("Net", text)
    config = small(model=model, ema=0.5)
    end_of(config)
    trained, fresh = load_checkpoint(config.output, model).build_model(), build_model(model)
    assert isinstance(trained, nn.Module)
    assert torch.equal(trained.first.weight, fresh.first.weight)
    assert not torch.equal(trained.last.weight, fresh.last.weight)


def test_a_parameter_that_is_not_used_is_told(file: File, few: Split) -> None:
    text = """
class Net(Plain):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(2, 2)
"""
    model = file("Net", text)
    with pytest.raises(UsageError, match=r"its other\.weight is not used"):
        behaviour_of(build_model(model), model)


def test_a_training_tells_what_was_found_out(
    file: File, small: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    model = file("Normed")
    with caplog.at_level(logging.INFO):
        end_of(small(model=model))
    assert (
        f"{model}: 1,562 parameters; images [N, 1, 28, 28] from 0 to 255, logits [N, 10]; a "
        "forward pass changes norm.running_mean, as batch normalisation does, so an update is "
        "computed in one piece"
    ) in caplog.text


def test_exports_have_what_the_network_computes(
    file: File, small: Configure, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    text = "OPTIONS = {'normalized': True}"
    model = file("Normed", text)
    config = small(model=model)
    end_of(config)
    settings = ExportConfig(model=model)
    event, data = export_checkpoint(config.output, str(tmp_path / "net.onnx"), settings)
    assert event.model == "Normed"
    assert event.largest_difference is not None
    assert event.largest_difference < 1e-3
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    network = load_checkpoint(config.output, model).build_model().eval()
    for samples in (1, 5):
        pixels = torch.rand(samples, 28, 28) * 255
        (found,) = session.run(["logits"], {"pixels": pixels.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), network(pixels), rtol=0, atol=1e-4)
    event, data = export_checkpoint(config.output, str(tmp_path / "net.safetensors"), settings)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["norm.running_mean"]["shape"] == [4]
    assert header["__metadata__"]["network_sha256"] == read_network_file(model).sha256
    with pytest.raises(UsageError, match="a page computes the networks of mnist_cli only"):
        export_checkpoint(config.output, str(tmp_path / "net.html"), settings)


def test_averaged_weights_have_the_running_means_of_the_training(
    file: File, small: Configure
) -> None:
    model = file("Normed")
    config = small(model=model, ema=0.5)
    end_of(config)
    checkpoint = load_checkpoint(config.output, model)
    assert checkpoint.raw_weights is not None
    name = "norm.running_mean"
    assert torch.equal(checkpoint.weights[name], checkpoint.raw_weights[name])
    assert checkpoint.weights[name].abs().max() > 0, "not those of the start"
    assert not torch.equal(checkpoint.weights["last.weight"], checkpoint.raw_weights["last.weight"])
