"""Misspelled names get a message of a line or two with what was probably meant."""

import os
from dataclasses import fields

import pytest

from mnist_cli.cli.usage_errors import known_variables, unknown_variables
from mnist_cli.config import suggestions
from mnist_cli.config.compare import CompareConfig
from mnist_cli.config.options import DEVICES, MODES
from mnist_cli.config.programs import (
    Display,
    EvalConfig,
    ExportConfig,
    LessonConfig,
    PredictConfig,
    Recording,
    Resume,
    Serving,
)
from mnist_cli.config.registry import NETWORKS, OPTIMIZERS
from mnist_cli.config.sources import COMPARE, TRAIN, flag, preset_names
from mnist_cli.config.suggestions import nearest, nearest_option
from mnist_cli.config.train import TrainConfig
from tests.helpers.calling import Caller
from tests.helpers.fork_server import PROGRAMS

OPTIONS = [flag(field.name) for field in fields(TrainConfig)]
EVERY_KIND = (
    *(TrainConfig, EvalConfig, PredictConfig, ExportConfig, CompareConfig),
    *(LessonConfig, Serving, Resume, Recording, Display),
)


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("minibatch", MODES, "mini-batch"),
        ("MINI_BATCH", MODES, "mini-batch"),
        ("full-batch", MODES, "batch"),
        ("CNN", NETWORKS, "cnn"),
        ("leNet5", NETWORKS, "lenet"),
        ("gpu", DEVICES, "cuda"),
        ("adam", OPTIMIZERS, "adamw"),
        ("gpu", NETWORKS, None),  # what it stands for elsewhere is not known here
        ("xyzzy", NETWORKS, None),
        ("", NETWORKS, None),
    ],
)
def test_the_nearest_word_is_found(word: str, known: tuple[str, ...], meant: str | None) -> None:
    assert nearest(word, known) == meant


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("--batchsize", "--batch-size"),
        ("--batch_size", "--batch-size"),
        ("--Batch-Size", "--batch-size"),
        ("-batch-size", "--batch-size"),
        ("--bs", "--batch-size"),
        ("--learning-rate", "--lr"),
        ("--learning_rate=0.1", "--lr"),
        ("--workers", "--threads"),
        ("--num_workers", "--threads"),
        ("--gpu", "--device cuda"),
        ("--no-cuda", "--device cpu"),
        ("--epoch", "--epochs"),
        ("--wd", "--weight-decay"),
        ("--scheduler", "--schedule"),
        ("--xyzzy", None),
    ],
)
def test_the_names_of_other_trainers_are_known(wrong: str, meant: str | None) -> None:
    assert nearest_option(wrong, OPTIONS) == meant


def test_no_other_name_stands_for_an_option_that_does_not_exist() -> None:
    known = {flag(f.name) for kind in EVERY_KIND for f in fields(kind)}
    known |= {"--config", "--show-config"}
    for wrong, meant in suggestions._OPTION_SYNONYMS.items():
        assert meant.split()[0] in known
        assert nearest_option(wrong, known) == (wrong if wrong in known else meant)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("mnist-train --bs 64", "No such option: --bs; did you mean --batch-size?"),
        ("mnist-train --gpu", "did you mean --device cuda?"),
        ("mnist-train -lr 0.1", "No such option: -lr; did you mean --lr?"),
        ("mnist-train fast", "unexpected argument 'fast'; did you mean --config fast?"),
        ("mnist-train acurate", "did you mean --config accurate?"),
        ("mnist-train cnn", "did you mean --model cnn?"),
        ("mnist-train my.toml", "did you mean --config my.toml?"),
        ("mnist-train my.pt", "did you mean --resume my.pt, or mnist-eval my.pt?"),
        ("mnist-train epochs=3", "did you mean --epochs 3?"),
        ("mnist-train epochs 3", "did you mean --epochs?"),
        ("mnist-train --epochs", "--epochs requires a value"),
        ("mnist-train --mode minibatch", "did you mean 'mini-batch'?"),
        (
            "mnist-compare --columns lr,test_acuracy",
            "--columns: 'test_acuracy' is unknown; did you mean 'test_accuracy'? There are ",
        ),
        ("mnist-train --config Fast", "did you mean 'fast'?"),
        ("mnist-train --config claim-steady", "mnist-compare --config claim-steady"),
        ("mnist-train --config none.toml", "name a TOML file or a preset"),
        ("mnist-compare --config fast", "mnist-train --config fast"),
        ("mnist-compare --panel curves", "--panel curves says what --plot shows; add --plot"),
        ("mnist-compare 64 128", "--batch-sizes 64,256,full"),
        ("mnist-compare --batch-size 64", "did you mean --batch-sizes?"),
        ("mnist-eval", "CHECKPOINT is missing: mnist-eval CHECKPOINT"),
        ("mnist-eval a.pt b.pt", "unexpected argument 'b.pt': mnist-eval CHECKPOINT"),
        ("mnist-eval a.pt --checkpoint b.pt", "No such option: --checkpoint (see"),
        ("mnist-eval --test-batch-size 9 a.pt", "did you mean --batch-size?"),
        ("mnist-eval --threshold 1 a.pt", "did you mean --min-accuracy?"),
        ("mnist-predict a.pt", "IMAGE is missing: mnist-predict CHECKPOINT IMAGE…"),
        ("mnist-export a.pt", "OUTPUT is missing: mnist-export CHECKPOINT OUTPUT"),
        ("python -m mnist_cli trian", "No such command: 'trian'. Did you mean 'train'?"),
        ("python -m mnist_cli mnist-eval", "Did you mean 'eval'?"),
        ("python -m mnist_cli evaluate", "Did you mean 'eval'?"),
        (
            "python -m mnist_cli xyzzy",
            "There are train, eval, predict, compare, export, lesson, doctor",
        ),
        ("python -m mnist_cli doctor fast", "unexpected argument 'fast' (see"),
        ("python -m mnist_cli doctor cnn", "unexpected argument 'cnn' (see"),
        ("python -m mnist_cli doctor my.toml", "unexpected argument 'my.toml' (see"),
        ("python -m mnist_cli --epochs 3", "python -m mnist_cli train --epochs …"),
    ],
)
def test_a_wrong_command_is_told_what_was_meant(command: str, message: str, call: Caller) -> None:
    done = call(*command.split())
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("error: ")


@pytest.mark.parametrize("program", PROGRAMS)
def test_words_of_any_kind_are_an_error_in_few_lines(program: str, call: Caller) -> None:
    for words in ([""], [" "], ["-"], ["--="], ["-="], ["(a) (b)"], ["\n"], ["--\x1b[31m"]):
        done = call(program, "no", "no", *words, "--no")
        assert done.code == 2, (words, done)
        assert done.err.replace("\n", "").isprintable()
        assert done.out == ""
        assert 1 <= len(done.err.splitlines()) <= 2


def test_a_variable_with_a_slip_is_told_and_changes_nothing(call: Caller) -> None:
    done = call("mnist-train", "--list-models", "-q", env={"MNIST_BATCHSIZE": "7"})
    assert done.code == 0
    assert done.err == (
        "warning: the variable MNIST_BATCHSIZE has no effect; did you mean MNIST_BATCH_SIZE?\n"
    )


def test_variables_of_every_program_are_known_in_every_program(call: Caller) -> None:
    known = {f"MNIST_{field.name.upper()}" for kind in EVERY_KIND for field in fields(kind)}
    assert set(known_variables()) == known | {"MNIST_CONFIG"}
    done = call("mnist-train", "--list-models", env={"MNIST_SPLIT": "val", "MNIST_SEEDS": "3"})
    assert done.err == ""


def test_an_unknown_variable_gets_a_hint_that_helps() -> None:
    environ = {"MNIST_LEARNING_RATE": "1", "MNIST_GPU": "1", "MNIST_XYZZY": "1", "PATH": "/bin"}
    assert unknown_variables(environ) == {
        "MNIST_GPU": "did you mean MNIST_DEVICE=cuda?",
        "MNIST_LEARNING_RATE": "did you mean MNIST_LR?",
        "MNIST_XYZZY": "no option has that name",
    }
    assert unknown_variables(os.environ | {"MNIST_LR": "1"}).get("MNIST_LR") is None


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_names_no_python_types_and_fits_eighty_columns(program: str, call: Caller) -> None:
    done = call(program, "--help", env={"COLUMNS": "80"})
    assert done.code == 0
    for artefact in ("<bool>", "<str>", "<list", "{CHECKPOINT}", "{IMAGE}", "Optional["):
        assert artefact not in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert call(program, "-h", env={"COLUMNS": "80"}).out == done.out
    names = {"mnist": "COMMAND", "mnist-lesson": "[OUTPUT]"}
    names |= dict.fromkeys(("mnist-train", "mnist-compare"), "[OPTIONS]")
    name = names.get(program, "CHECKPOINT")
    assert f"Usage: {program} " in done.out
    assert name in done.out.splitlines()[1]


@pytest.mark.parametrize("program", [TRAIN, COMPARE])
def test_help_has_examples_that_stand_on_lines_of_their_own(program: str, call: Caller) -> None:
    done = call(program, "--help", env={"COLUMNS": "80"})
    examples = [line for line in done.out.splitlines() if line.startswith(f"   {program}")]
    assert len(examples) >= 4
    for name in (line.partition("--config ")[2].split() for line in examples):
        assert not name or name[0] in preset_names(program)
