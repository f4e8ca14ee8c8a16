"""What is kept of a training: the log of its events, and curves for TensorBoard."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from mnist_cli.errors import OutputError
from mnist_cli.events import Step
from mnist_cli.output.figures.training import TrainingFigure, running_mean
from mnist_cli.output.renderers import LogFile, json_line
from mnist_cli.training.train import train
from tests.helpers.calling import Caller
from tests.helpers.shell import SMALL, Done, Shell
from tests.helpers.trainings import Configure, objects


def test_the_log_has_the_very_lines_of_json_and_is_no_part_of_what_is_trained(
    call: Caller,
) -> None:
    places = ("--log-file", "run.jsonl", "--tensorboard", "runs")
    done = call.train("--json", "-q", "--log-interval", "3", *places)
    assert (call.folder / "run.jsonl").read_text() == done.out
    start, *rest = objects(done.out)
    assert [event["event"] for event in rest] == ["step", "step", "step", "epoch", "end"]
    assert not {"log_file", "tensorboard"} & set(start["config"])


def test_beside_a_log_the_streams_are_as_without_one(call: Caller) -> None:
    plain = call.train()
    (call.folder / "checkpoint.pt").unlink()  # or the next training would say that it is there
    logged = call.train("--log-file", "run.jsonl")
    assert logged.out == plain.out == "checkpoint.pt\n"
    assert len(logged.err.splitlines()) == len(plain.err.splitlines())
    assert {path.name for path in call.folder.iterdir()} == {"checkpoint.pt", "run.jsonl"}


def test_each_line_is_in_the_file_before_the_next_event_happens(
    small: Configure, tmp_path: Path
) -> None:
    log = LogFile(str(tmp_path / "run.jsonl"), appending=False)
    lasting = 0
    with log:
        for event in train(small()):
            log.show(event)
            lasting += event.lasting
            lines = (tmp_path / "run.jsonl").read_text()
            assert lines.count("\n") == lasting
            assert lines.endswith("\n")
    assert lasting == 12, "a start, two epochs of four steps, an end"


def test_a_new_training_starts_a_new_log_and_a_resumed_one_appends(call: Caller) -> None:
    log = call.folder / "run.jsonl"
    log.write_text("of before\n")
    call.train("-q", "--log-file", "run.jsonl", "--epochs", "2", "--max-updates", "5")
    first = log.read_text()
    assert "of before" not in first
    log.write_text(first + '{"event": "ste')  # what a killed program may leave
    call("mnist-train", "-q", "--resume", "checkpoint.pt", "--log-file", "run.jsonl")
    whole = log.read_text()
    assert whole.startswith(first)
    names = [event["event"] for event in objects(whole.removeprefix(first))]
    assert (names[:2], names[-1]) == (["start", "resume"], "end")


def test_a_line_of_somebody_else_is_kept_whole(small: Configure, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("a note without an end")
    events = list(train(small(epochs=1)))
    with LogFile(str(path), appending=True) as log:
        for event in events:
            log.show(event)
    lasting = [json_line(event) for event in events if event.lasting]
    assert path.read_text() == "a note without an end\n" + "".join(lasting)


def test_a_training_that_is_refused_leaves_the_log_of_another_alone(call: Caller) -> None:
    call.train("-q")
    before = (call.folder / "checkpoint.pt").read_bytes()
    (call.folder / "run.jsonl").write_text("of another\n")
    for log, *options, code, message in (
        ("run.jsonl", "--batch-size", "70000", 2, "--batch-size 70000"),
        ("new.jsonl", "--batch-size", "70000", 2, "--batch-size 70000"),
        ("run.jsonl", "--no-clobber", "-o", "new.pt", 7, "--no-clobber keeps it"),
        ("checkpoint.pt", "--resume", "checkpoint.pt", "-o", "x.pt", 2, "what --resume names"),
    ):
        done = call.train("-q", *options, "--log-file", log)
        assert (done.code, message in done.err) == (code, True), done.err
    assert {path.name for path in call.folder.iterdir()} == {"checkpoint.pt", "run.jsonl"}
    assert (call.folder / "run.jsonl").read_text() == "of another\n"
    assert (call.folder / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--log-file=", 7, "is not the name of a file"),
        ("--log-file folder/", 7, "is not the name of a file"),
        ("--log-file .", 7, "is a folder"),
        ("--log-file no/such.jsonl", 7, "cannot write no/such.jsonl: No such file"),
        ("--log-file my.toml/x.jsonl", 7, "cannot write my.toml/x.jsonl: Not a directory"),
        (f"--log-file {'x' * 300}", 7, "File name too long"),
        ("--log-file /sys/run.jsonl", 7, "cannot write /sys/run.jsonl"),
        ("--log-file ./checkpoint.pt", 2, "is what --output names"),
        ("--log-file my.toml --config my.toml", 2, "is what --config names"),
        ("--log-file - --json", 2, "both want standard output"),
        ("--log-file /dev/stdout -o -", 2, "both want standard output"),
        ("--tensorboard=", 7, "is not the name of a folder"),
        ("--tensorboard my.toml", 7, "my.toml is no folder"),
        ("--tensorboard my.toml/runs", 7, "cannot write to the folder my.toml/runs"),
        ("--tensorboard /sys/runs", 7, "cannot write to the folder /sys/runs"),
    ],
)
def test_what_cannot_be_kept_is_told_before_the_training(
    options: str, code: int, message: str, call: Caller
) -> None:
    (call.folder / "my.toml").write_text("seed = 3\n")
    done = call.train("-q", *options.split())
    assert (done.code, message in done.err) == (code, True), done.err
    assert (len(done.err.splitlines()), done.out) == (1, "")
    assert [path.name for path in call.folder.iterdir()] == ["my.toml"]
    assert (call.folder / "my.toml").read_text() == "seed = 3\n"


def test_two_trainings_do_not_write_one_log(tmp_path: Path) -> None:
    name = str(tmp_path / "run.jsonl")
    with LogFile(name, appending=False):
        for appending in (False, True):
            with pytest.raises(OutputError, match="is being written by another program"):
                LogFile(name, appending=appending)
    with LogFile(name, appending=False):
        pass


def test_a_log_does_not_overwrite_the_configuration_that_a_variable_names(call: Caller) -> None:
    (call.folder / "my.toml").write_text("seed = 3\n")
    done = call.train("-q", "--log-file", "my.toml", env={"MNIST_CONFIG": "my.toml"})
    assert (done.code, "is what --config names" in done.err) == (2, True), done.err
    assert (call.folder / "my.toml").read_text() == "seed = 3\n"


def test_a_log_on_standard_output_is_that_of_json(call: Caller) -> None:
    done = call.train("-q", "--log-file", "-")
    assert (done.code, done.err) == (0, "")
    assert [event["event"] for event in objects(done.out)] == ["start", "epoch", "end"]


def test_a_training_does_not_die_of_its_log(call: Caller) -> None:
    done = call.train("-q", "--log-file", "/dev/full")
    assert (done.code, done.out) == (7, "checkpoint.pt\n")
    warning, error = done.err.splitlines()
    assert "No space left on device; the training goes on without it" in warning
    assert error.startswith("error: cannot write /dev/full")
    assert call("mnist-eval", "checkpoint.pt").code == 0


def test_a_log_that_is_full_ends_with_a_whole_line(shell: Shell) -> None:
    """The limit on the size of files stands for a disk that fills up."""
    code = (
        "# forked\n"
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from mnist_cli.output.renderers import LogFile\n"
        "from mnist_cli.events import Step\n"
        "log = LogFile('run.jsonl', appending=True)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for n in range(100): log.show(Step(0.0, 1, n, n, n, 0.5, 0.1, 100))\n"
        "log.close()\n"
        "log.raise_failure()"
    )
    done = shell("python", "-c", code)
    assert "File too large; it ends before the training did" in done.err
    text = (shell.folder / "run.jsonl").read_text()
    assert text.endswith("}\n")
    assert 1000 - len(text) < len(text.splitlines()[-1])
    assert [event["step"] for event in objects(text)] == list(range(text.count("\n")))


def curves(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def values(found: Any, tag: str) -> dict[int, float]:
    return {point.step: point.value for point in found.Scalars(tag)}


def test_tensorboard_reads_what_json_says(shell: Shell) -> None:
    probe = ("--probe", "alignment,noise,sharpness", "--probe-samples", "100")
    options = ("--json", "--epochs", "2", "--log-interval", "3", "--val-size", "100", *probe)
    done = shell.train(*options, "--tensorboard", "curves/of/mine")
    assert done.code == 0, done.err
    (folder,) = (shell.folder / "curves" / "of" / "mine").iterdir()
    assert folder.name.endswith("-linear-mini-batch-64")
    assert f"Writing curves to curves/of/mine/{folder.name}" in done.err
    found, events = curves(folder), objects(done.out)
    for name, keys in {
        "step": ("loss", "lr"),
        "epoch": ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "val_loss"),
        "end": ("test_accuracy", "train_seconds"),
    }.items():
        for key in keys:
            wanted = {e["update"]: e[key] for e in events if e["event"] == name}
            assert wanted
            assert values(found, f"{name}/{key}") == pytest.approx(wanted)
    sharpness = {e["update"]: e["sharpness"] for e in events if "sharpness" in e}
    assert values(found, "probe/sharpness") == pytest.approx(sharpness)
    cosines = {e["update"]: e["cosine_mean"] for e in events if e.get("batch_size") == 16}
    assert cosines
    assert values(found, "probe/cosine_mean_16") == pytest.approx(cosines)


def test_tensorboard_has_the_hyperparameters_of_a_run(call: Caller) -> None:
    from tensorboard.plugins.hparams import metadata

    call.train("-q", "--tensorboard", "runs", "--lr", "0.25", "--seed", "7")
    (folder,) = (call.folder / "runs").iterdir()
    found = curves(folder)
    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    told = metadata.parse_session_start_info_plugin_data(content).hparams
    assert (told["lr"].number_value, told["seed"].number_value) == (0.25, 7)
    assert (told["model"].string_value, told["shuffle"].bool_value) == ("linear", True)
    assert not {"output", "data_dir", "save_every", "probe_every"} & set(told)
    content = found.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(content).status == 1, "success"


def test_a_training_does_not_die_of_curves_that_a_full_disk_takes_no_more(shell: Shell) -> None:
    """The limit on the size of files stands for a disk that fills up."""
    code = (
        "# forked\n"
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from mnist_cli.output.tensorboard import TensorBoard\n"
        "from mnist_cli.events import Step\n"
        "board = TensorBoard('runs')\n"
        "board.open(Path('runs'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for n in range(100): board.show(Step(0.0, 1, n, n, n, 0.5, 0.1, 100))\n"
        "board.close()\n"
        "try: board.raise_failure()\n"
        "except Exception as error: sys.exit(error.code)"
    )
    done = shell("python", "-c", code)
    assert (done.code, done.out) == (7, ""), done.err
    assert done.err == ("cannot write runs: File too large; the training goes on without it\n")


def test_runs_have_folders_of_their_own(call: Caller) -> None:
    for _ in range(2):
        call.train("-q", "--tensorboard", "runs", "--max-updates", "3")
    call("mnist-train", "-q", "--resume", "checkpoint.pt", "--tensorboard", "runs")
    call.train("-q", "--tensorboard", "runs", "--mode", "batch")
    folders = sorted((call.folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(folders) == 4
    assert [len(list(folder.iterdir())) for folder in folders] == [1] * 4
    assert folders[2].name.endswith("-from-3")
    assert folders[3].name.endswith("-linear-batch")
    assert min(values(curves(folders[2]), "epoch/test_accuracy")) == 10


def test_nothing_of_tensorboard_reaches_the_user(shell: Shell) -> None:
    code = (
        "# forked\n"
        "import sys, warnings\n"
        "from mnist_cli.cli.train import main\n"
        "warnings.simplefilter('default')\n"
        "sys.argv = ['mnist-train', '-q', '--tensorboard', 'runs']\n"
        "main()"
    )
    assert shell("python", "-c", code, env=SMALL) == Done(0, "checkpoint.pt\n", "")


def test_without_the_package_the_error_names_the_way_to_it(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if "tensorboard" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    done = call.train("-q", "--tensorboard", "runs")
    assert (done.code, "pip install 'mnist_cli[tensorboard]'" in done.err) == (2, True), done.err


def test_under_torchrun_one_rank_keeps_the_log(shell: Shell) -> None:
    launch = "python -m mnist_cli.cli.torchrun --nproc-per-node 2 -m mnist_cli train -q"
    done = shell.bash(f"{launch} --log-file run.jsonl --tensorboard runs", env=SMALL)
    assert done.code == 0, done.err
    names = [e["event"] for e in objects((shell.folder / "run.jsonl").read_text())]
    assert names == ["start", "epoch", "end"]
    assert len(list((shell.folder / "runs").iterdir())) == 1


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_figure_of_the_training_is_written_at_its_end(ending: str, call: Caller) -> None:
    done = call.train("--plot", f"curves.{ending}", "--val-size", "100")
    assert done.code == 0, done.err
    start = (call.folder / f"curves.{ending}").read_bytes()[:5]
    assert start == {"svg": b"<?xml", "png": b"\x89PNG\r"}[ending]


def test_the_figure_has_the_loss_of_every_update(small: Configure, tmp_path: Path) -> None:
    config = small(epochs=2, log_interval=1)
    figure = TrainingFigure(str(tmp_path / "curves.svg"))
    losses = []
    for event in train(config):
        figure.show(event)
        losses += [(event.update, event.loss)] if isinstance(event, Step) else []
    assert list(zip(figure._updates, figure._losses, strict=True)) == losses
    assert (tmp_path / "curves.svg").is_file()
    terminal = io.StringIO()
    figure.print_on(terminal)
    shown = terminal.getvalue()
    for words in ("training loss against updates", "average", "accuracy against epochs", "test"):
        assert words in shown
    assert "1.5" not in shown.partition("accuracy")[2]  # there is no epoch 1.5


def test_the_figure_has_the_losses_of_samples_if_they_were_probed(
    small: Configure, tmp_path: Path
) -> None:
    figure = TrainingFigure(str(tmp_path / "curves.svg"))
    for event in train(small(model="linear", probe="losses", probe_every=2)):
        figure.show(event)
    svg = (tmp_path / "curves.svg").read_text()
    share = 100 * (figure._sample_losses[-1].worst_tenth_share or 0)
    title = f"After 8 updates the worst tenth of the batch's samples has {share:.0f} % of its loss"
    for words in (title, "loss of a sample", "after 0 updates, mean 2.3", "after 4 updates"):
        assert f"<!-- {words}" in svg
    assert "after 2 updates" not in svg


def test_a_running_mean_is_over_the_last_values() -> None:
    assert running_mean([4.0, 2.0, 6.0, 8.0], 2) == [4.0, 3.0, 4.0, 7.0]
    assert running_mean([4.0, 2.0], 1) == [4.0, 2.0]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("curves.gif", 2, "its ending is not one of"),
        ("nowhere/curves.svg", 7, "nowhere"),
        ("checkpoint.pt", 2, "is what --output names"),
    ],
)
def test_a_figure_that_cannot_be_written_is_told_before_the_training(
    name: str, code: int, message: str, call: Caller
) -> None:
    done = call("mnist-train", "--plot", name)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
