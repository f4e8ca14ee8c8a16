"""Data of one's own through the installed programs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mnist_cli.data.splits import Dataset, Split
from mnist_cli.models.checkpoint import load_checkpoint
from tests.helpers.calling import Caller
from tests.helpers.idx_files import idx_bytes
from tests.helpers.own_data import write_csv
from tests.helpers.shell import Shell

SMALL = "--model linear --epochs 1 --seed 0".split()


@pytest.fixture
def with_tables(mnist_shell: Shell, mnist: Dataset) -> Shell:
    """Return a shell in a folder with Kaggle's two tables, of 600 and 50 samples."""
    shell = replace(mnist_shell, env={**mnist_shell.env, "MNIST_DATA_DIR": "data"})
    write_csv(shell.folder / "train.csv", mnist.train.at(slice(600)))
    write_csv(shell.folder / "test.csv", mnist.test.at(slice(50)), labelled=False)
    return shell


def test_kaggles_tables_go_through_all_programs(with_tables: Shell, mnist: Dataset) -> None:
    done = with_tables("mnist-train", "--dataset", "train.csv", *SMALL, "-o", "k.pt", "--json")
    start, *_, end = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, start["samples"]) == (0, 480), done.err
    assert start["config"]["dataset"].startswith("train.csv@10-")
    assert "  120 samples are held out to test on (--test-size 0.2)" in done.err
    done = with_tables("mnist-eval", "k.pt", "--json")
    result = json.loads(done.out)
    assert (done.code, result["samples"]) == (0, 120), done.err
    assert result["accuracy"] == end["test_accuracy"]
    again = json.loads(with_tables("mnist-eval", "k.pt", "--dataset", "train.csv", "--json").out)
    assert again["correct"] == result["correct"]  # the same samples are held out
    done = with_tables("mnist-predict", "k.pt", "test.csv", "--csv", "submission.csv")
    assert (done.code, done.out) == (0, ""), done.err
    lines = (with_tables.folder / "submission.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("ImageId,Label", 51)
    done = with_tables("mnist-predict", "k.pt", "test.csv", "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [f"{n},{row['label']}" for n, row in enumerate(rows, start=1)] == lines[1:]
    assert rows[0]["path"] == "test.csv:1"
    right = sum(row["digit"] == label for row, label in zip(rows, mnist.test.labels, strict=False))
    assert right > 30


def test_a_table_is_predicted_with_the_polarity_of_the_training(
    mnist_shell: Shell, mnist: Dataset
) -> None:
    light = mnist.train.at(slice(600))
    write_csv(mnist_shell.folder / "train.csv", replace(light, images=255 - light.images))
    row = replace(mnist.test.at(slice(1)), images=mnist.test.images[:1].clone())
    row.images[:, [0, -1]] = row.images[:, :, [0, -1]] = 255  # alone, it seems to be the other way
    inverted = replace(row, images=255 - row.images)
    write_csv(mnist_shell.folder / "light.csv", inverted, labelled=False)
    shell = replace(mnist_shell, env={**mnist_shell.env, "MNIST_DATA_DIR": "data"})
    assert shell("mnist-train", "--dataset", "train.csv", *SMALL, "-o", "l.pt").code == 0
    done = shell("mnist-predict", "l.pt", "light.csv", "--json")
    read = json.loads(done.out)
    network = load_checkpoint(mnist_shell.folder / "l.pt").build_model()
    probabilities = network(row.images).softmax(1)[0].tolist()
    assert read["probabilities"] == pytest.approx(probabilities, abs=1e-5)


def test_a_training_resumes_with_the_data_where_they_were_or_are_now(with_tables: Shell) -> None:
    data = ["--dataset", "train.csv"]
    whole = with_tables("mnist-train", *data, *SMALL, "--epochs", "2", "-o", "a.pt", "--json")
    begun = with_tables(
        *("mnist-train", *data, *SMALL, "--epochs", "2", "--max-updates", "5", "-o", "b.pt")
    )
    assert begun.code == 0
    (with_tables.folder / "moved").mkdir()
    (with_tables.folder / "train.csv").rename(with_tables.folder / "moved" / "now.csv")
    more = ["--resume", "b.pt", "--max-updates", "99", "--json"]
    done = with_tables("mnist-train", *more)
    assert done.code == 3
    assert "train.csv" in done.err
    done = with_tables("mnist-train", *more, "--dataset", "moved/now.csv")
    assert done.code == 0, done.err
    ends = [json.loads(each.out.splitlines()[-1]) for each in (whole, done)]
    assert ends[0]["weights_sha256"] == ends[1]["weights_sha256"]


def test_other_samples_do_not_resume_a_training(with_tables: Shell, mnist: Dataset) -> None:
    with_tables("mnist-train", "--dataset", "train.csv", *SMALL, "-o", "b.pt")
    write_csv(with_tables.folder / "train.csv", mnist.train.at(slice(10, 610)))
    done = with_tables("mnist-train", "--resume", "b.pt", "--epochs", "2")
    assert done.code == 2
    assert "these are not the samples that the training began with" in done.err
    done = with_tables("mnist-eval", "b.pt")
    assert done.code == 0
    assert "train.csv has other samples than when the network was trained" in done.err


def test_letters_have_their_names_everywhere(mnist_shell: Shell, mnist: Dataset) -> None:
    """EMNIST's letters: 26 classes, numbered from 1, in images that are stored transposed."""
    raw = mnist_shell.folder / "data" / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, split in (("train", mnist.train), ("test", mnist.test)):
        labels = (split.labels[:520].long() + 10 * (split.images[:520, 14, 14] > 127)) % 26
        labels[:26] = mnist.train.labels.new_tensor(range(26))
        images = split.images[:520].transpose(1, 2)
        (raw / f"emnist-letters-{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (raw / f"emnist-letters-{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels.byte() + 1))
    shell = replace(mnist_shell, env={**mnist_shell.env, "MNIST_DATA_DIR": "data"})
    picture = next((Path(__file__).parents[1] / "drawn" / "images").glob("*7*.png"))
    done = shell("mnist-train", "--dataset", "emnist-letters", *SMALL, "-o", "l.pt")
    assert done.code == 0, done.err
    done = shell("mnist-eval", "l.pt", "--json", "--report", "l.html", "--plot", "l.svg")
    result = json.loads(done.out)
    assert (done.code, result["classes"][25]) == (0, "Z"), done.err
    assert (len(result["confusion"]), len(result["per_class"])) == (26, 26)
    assert "<th scope=row>Q</th>" in (shell.folder / "l.html").read_text()
    done = shell("mnist-predict", "l.pt", str(picture))
    assert done.out.split("\t")[1] in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for name in ("l.html", "l.safetensors", "l.onnx"):
        assert shell("mnist-export", "l.pt", name).code == 0
    assert '"Z"' in (shell.folder / "l.html").read_text()
    done = shell(
        *("mnist-compare --dataset emnist-letters --batch-sizes 64,full --epochs 1").split(),
        *("--seeds 1 --subset 200 --probe path --json").split(),
    )
    assert done.code == 0, done.err
    assert json.loads(done.out.splitlines()[0])["classes"] == 26


def test_a_mistyped_name_is_told(shell: Shell) -> None:
    done = shell("mnist-train", "--dataset", "fashon-mnist")
    assert done.code == 2
    assert "did you mean" in done.err
    assert "the path of your own data" in done.err
    done = shell("mnist-train", "--dataset", "there/is/none.csv")
    assert done.code == 3
    assert "there/is/none.csv" in done.err


def test_ten_classes_do_not_begin_a_training_of_two(shell: Shell, mnist: Dataset) -> None:
    chosen = (mnist.train.labels == 1) | (mnist.train.labels == 7)
    two = mnist.train.at(chosen.nonzero().flatten()[:300])
    write_csv(shell.folder / "two.csv", Split(two.images, two.labels, two.classes))
    assert shell("mnist-train", "--model", "linear", "--max-updates", "1", "-o", "ten.pt").code == 0
    done = shell("mnist-train", "--dataset", "two.csv", "--init", "ten.pt")
    assert done.code == 2
    assert "network has 10 classes, and two.csv has 2" in done.err
    done = shell("mnist-eval", "ten.pt", "--dataset", "two.csv", "--json")
    result = json.loads(done.out)
    assert (done.code, result["samples"]) == (0, 300), done.err
    assert [row["samples"] > 0 for row in result["per_class"]].count(True) == 2


def test_neither_data_nor_a_checkpoint_are_overwritten(with_tables: Shell) -> None:
    before = (with_tables.folder / "train.csv").read_bytes()
    data = ["--dataset", "train.csv"]
    done = with_tables("mnist-train", *data, *SMALL, "-o", "train.csv")
    assert (done.code, "--output train.csv is what --dataset names" in done.err) == (2, True)
    assert with_tables("mnist-train", *data, *SMALL, "-o", "k.pt").code == 0
    checkpoint = (with_tables.folder / "k.pt").read_bytes()
    for output in ("train.csv", "k.pt"):
        done = with_tables("mnist-predict", "k.pt", "train.csv", "--csv", output)
        assert (done.code, "choose another" in done.err) == (2, True)
    done = with_tables("mnist-predict", "k.pt", "train.csv", "test.csv", "--csv", "out.csv")
    assert (done.code, "--csv numbers the rows of one table" in done.err) == (2, True)
    assert (with_tables.folder / "train.csv").read_bytes() == before
    assert (with_tables.folder / "k.pt").read_bytes() == checkpoint


def test_a_folder_may_hold_what_was_made_of_it(with_tables: Shell) -> None:
    """The data folder and the checkpoint lie in it; evaluation is possible from anywhere."""
    for _ in range(2):
        done = with_tables("mnist-train", "--dataset", ".", *SMALL, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out.splitlines()[0])["samples"] == 480
    accuracy = with_tables("mnist-eval", "checkpoint.pt").out
    (with_tables.folder / "below").mkdir()
    below = replace(with_tables, folder=with_tables.folder / "below")
    for options in ([], ["--dataset", "../train.csv"]):
        done = below("mnist-eval", "../checkpoint.pt", *options)
        assert (done.code, done.out) == (0, accuracy), done.err


def test_the_same_file_is_evaluated_as_it_was_trained_on(with_tables: Shell) -> None:
    data = ["--dataset", "train.csv"]
    assert with_tables("mnist-train", *data, "--transposed", *SMALL, "-o", "t.pt").code == 0
    outs = [with_tables("mnist-eval", "t.pt", *more, "--json").out for more in ([], data)]
    first, second = (json.loads(out) for out in outs)
    assert (first["samples"], first["correct"]) == (second["samples"], second["correct"])
    table = with_tables.folder / "train.csv"
    table.write_text(table.read_text() + table.read_text().splitlines()[1] + "\n")
    done = with_tables("mnist-eval", "t.pt", *data)
    assert "has other samples than when the network was trained" in done.err
    done = with_tables("mnist-eval", "t.pt", "--split", "train")
    assert (done.code, "which has other samples now" in done.err) == (2, True)
    begun = ["--init", "t.pt", *data, "--transposed", *SMALL]
    done = with_tables("mnist-train", *begun, "--test-size", "0.5", "-o", "u.pt")
    assert "was trained on other samples of" in done.err


def test_how_to_read_needs_data_to_read(with_tables: Shell) -> None:
    assert with_tables("mnist-train", *SMALL, "--max-updates", "1", "-o", "m.pt").code == 0
    done = with_tables("mnist-eval", "m.pt", "--transposed")
    assert (done.code, done.out) == (2, "")
    assert "--transposed needs --dataset PATH" in done.err


def test_names_of_classes_are_no_markup(mnist_shell: Shell, mnist: Dataset) -> None:
    names = ("[/red]x", "$\\foo{$", *"23456789")
    split = replace(mnist.train.at(slice(600)), classes=names)
    write_csv(mnist_shell.folder / "train.csv", split)
    shell = replace(mnist_shell, env={**mnist_shell.env, "MNIST_DATA_DIR": "data"})
    assert shell("mnist-train", "--dataset", "train.csv", *SMALL, "-o", "m.pt").code == 0
    for panel in ("confusion", "mistakes"):
        done = shell("mnist-eval", "m.pt", "--plot", "m.svg", "--panel", panel)
        assert done.code == 0, done.err
    assert shell("mnist-eval", "m.pt", "--mistakes", "3").code == 0


@pytest.mark.parametrize("path", ["x" * 300 + ".csv", "no/such.csv"])
def test_a_path_that_cannot_be_is_told(path: str, call: Caller) -> None:
    done = call.train(env={"MNIST_DATASET": path})
    assert done.code == 3
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err


def test_the_options_of_a_checkpoint_name_no_digest(with_tables: Shell) -> None:
    assert with_tables("mnist-train", "--dataset", "train.csv", *SMALL, "-o", "k.pt").code == 0
    done = with_tables("mnist-train", "--config", "k.pt", "--show-config")
    assert done.code == 0, done.err
    assert "train.csv; name its file" in done.out
    assert "@10-" not in done.out
    (with_tables.folder / "saved.toml").write_text(done.out)
    done = with_tables("mnist-train", "--config", "saved.toml", "--dataset", "train.csv", "--json")
    assert done.code == 0, done.err
    (with_tables.folder / "train.csv").unlink()
    done = with_tables("mnist-eval", "k.pt")
    assert done.code == 3
    assert "name the data with --dataset PATH" in done.err
