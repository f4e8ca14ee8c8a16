"""`mnist-predict` as a process."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from mnist_cli.config.registry import NETWORKS
from mnist_cli.data.splits import Dataset
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.networks import weights_sha256
from tests.helpers.calling import Caller
from tests.helpers.hostile import HOSTILE, encoded
from tests.helpers.shell import Shell
from tests.torture.amount import LONG


def test_it_prints_a_line_for_each_image(call: Caller, trained: Path, files: list[str]) -> None:
    done = call("mnist-predict", "-q", str(trained), *files[:3])
    assert (done.code, done.err) == (0, "")
    for line, name in zip(done.out.splitlines(), files[:3], strict=True):
        assert re.fullmatch(rf"{re.escape(name)}\t\d\t(0\.\d{{4}}|1\.0000)", line)


def test_the_digits_are_those_of_the_network(
    call: Caller, trained: Path, many_files: list[str], mnist: Dataset
) -> None:
    done = call("mnist-predict", "--json", str(trained), *many_files)
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["path"] for event in events] == many_files
    with torch.inference_mode():
        logits = load_checkpoint(trained).build_model()(mnist.test.images[:300])
    expected = logits.double().softmax(1)
    assert torch.tensor([event["probabilities"] for event in events]).allclose(
        expected.float(), atol=1e-5
    )
    for event in events:
        keys = "event seconds path digit probability probabilities uncertain box label"
        assert set(event) == {*keys.split()}
        assert event["event"] == "prediction"
        assert event["probability"] == max(event["probabilities"])
        assert event["digit"] == event["probabilities"].index(event["probability"])
        assert sum(event["probabilities"]) == pytest.approx(1)


def test_an_unreadable_image_is_reported_and_the_others_are_read(
    call: Caller, trained: Path, files: list[str]
) -> None:
    (call.folder / "text").write_bytes(b"hello\n")
    (call.folder / "bomb").write_bytes(HOSTILE["png, 400 million pixels"][0]())
    (call.folder / "cut").write_bytes((call.folder / files[0]).read_bytes()[:100])
    noise = encoded(Image.effect_noise((90, 70), 90), "TIFF", compression="tiff_lzw")
    (call.folder / "cut.tif").write_bytes(noise[:-2000])  # of which libtiff would complain, too
    names = [files[0], "text", "missing", files[1], "bomb", "cut", "cut.tif", "", files[2]]
    unreadable = [name for name in names if name not in files]
    done = call("mnist-predict", "--json", "-q", str(trained), *names)
    assert done.code == 3
    assert len(done.out.splitlines()) == 3
    errors = done.err.splitlines()
    for line, name in zip(errors, unreadable, strict=True):
        assert line.startswith(f"error: cannot read {name!r}: ")
    assert "No such file or directory" in errors[1]


def test_an_image_or_the_checkpoint_on_stdin(shell: Shell, trained: Path, files: list[str]) -> None:
    image = (shell.folder / files[0]).read_bytes()
    done = shell("mnist-predict", str(trained), files[0], "-", stdin=image)
    expected, piped = done.out.splitlines(keepends=True)
    assert (done.code, piped) == (0, expected.replace(files[0], "-"))
    done = shell("mnist-predict", "-", files[0], stdin=trained.read_bytes())
    assert (done.code, done.out) == (0, expected)
    done = shell("mnist-predict", str(trained), "-")
    assert (done.code, done.out) == (3, "")
    assert done.err == "error: cannot read standard input: it is empty; give an image\n"
    assert shell.bash(f"mnist-predict {trained} - <&-").code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}"], "IMAGE is missing"),
        ([], "CHECKPOINT is missing"),
        (["-", "-"], "which can be read once"),
        (["{}", "-", "0.png", "-"], "which can be read once"),
        (
            ["{}", "0.png", "--device", "tpu"],
            "--device: 'tpu' is unknown; did you mean 'cpu'? There are auto, cpu, cuda, mps",
        ),
        (["{}", "0.png", "--jsn"], "did you mean --json?"),
    ],
)
def test_usage_errors_exit_with_2(
    arguments: list[str], message: str, call: Caller, trained: Path
) -> None:
    done = call("mnist-predict", *(argument.format(trained) for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_a_path_cannot_break_its_line(call: Caller, trained: Path, files: list[str]) -> None:
    image = (call.folder / files[0]).read_bytes()
    name = "a\tb\nc\rd\\e ü\x1b[31m\u2028\x9b.png"
    (call.folder / name).write_bytes(image)
    done = call("mnist-predict", str(trained), name, name + "\x1b[31m")
    assert done.out.count("\n") == 1
    assert done.out.startswith("a\\tb\\nc\\rd\\e ü\\x1b[31m\\u2028\\x9b.png\t")
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert "\x1b" not in done.err
    done = call("mnist-predict", "--json", str(trained), name)
    assert json.loads(done.out)["path"] == name


def test_a_path_of_any_bytes(shell: Shell, trained: Path, files: list[str]) -> None:
    script = (
        rf"cp {files[0]} $'\xff.png' && mnist-predict {trained} $'\xff.png' $'\xfe'"
        r" | LC_ALL=C grep -caP '^\xff.png\t\d\t'; exit ${PIPESTATUS[0]}"
    )
    done = shell.bash(script)
    assert (done.code, done.out) == (3, "1\n"), done.err
    assert len(done.err.splitlines()) == 1


def test_a_reader_that_goes_away_ends_it_quietly(
    shell: Shell, trained: Path, many_files: list[str]
) -> None:
    done = shell.bash(f"mnist-predict -q {trained} *.png *.png *.png *.png | head -1")
    assert (done.code, done.err) == (141, "")
    done = shell.bash(f"mnist-predict {trained} {many_files[0]} >/dev/full")
    assert done.code == 7
    assert "No space left" in done.err


BLANK = encoded(Image.new("L", (90, 60), 255), "PNG")


def test_without_a_digit_there_is_none_and_a_note_says_so(call: Caller, trained: Path) -> None:
    (call.folder / "blank.png").write_bytes(BLANK)
    noise = Image.effect_noise((90, 70), 50)
    (call.folder / "noise.png").write_bytes(encoded(noise, "PNG"))
    (call.folder / "small.png").write_bytes(encoded(noise.crop((0, 0, 28, 28)), "PNG"))
    slope = Image.linear_gradient("L")
    (call.folder / "slope.png").write_bytes(encoded(slope, "PNG"))
    (call.folder / "step.png").write_bytes(encoded(slope.resize((28, 28)), "PNG"))
    names = ["blank.png", "noise.png", "small.png", "slope.png", "step.png"]
    done = call("mnist-predict", "--json", "--uncertain-below", "0", str(trained), *names)
    for line, note, name in zip(done.out.splitlines(), done.err.splitlines(), names, strict=True):
        event = json.loads(line)
        assert event["uncertain"] is True
        found = [event[key] for key in ("digit", "probability", "probabilities")]
        assert found == [None, 0.0, None]
        assert note == f"note: {name!r} is uncertain: no digit was found in it"
    done = call("mnist-predict", "-q", str(trained), *names)
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"{name}\t-\t0.0000\n" for name in names)


def test_the_threshold_decides_what_is_uncertain(
    call: Caller, trained: Path, many_files: list[str]
) -> None:
    def uncertain(*options: str) -> tuple[list[bool], list[float], list[str]]:
        done = call("mnist-predict", "--json", *options, str(trained), *many_files[:80])
        events = [json.loads(line) for line in done.out.splitlines()]
        marks = [event["uncertain"] for event in events]
        return marks, [event["probability"] for event in events], done.err.splitlines()

    for options, threshold in (
        ([], NETWORKS["linear"].confidence_threshold),
        (["--uncertain-below", "0.6"], 0.6),
    ):
        marks, probabilities, notes = uncertain(*options)
        assert marks == [probability < threshold for probability in probabilities]
        assert 0 < sum(marks) < len(marks)
        assert len(notes) == sum(marks)
        line = rf"note: '\d+\.png' is uncertain: probability 0\.\d+ is below {threshold}"
        assert all(re.fullmatch(line, note) for note in notes)
    assert not any(uncertain("--uncertain-below", "0")[0])
    done = call("mnist-predict", "--uncertain-below", "2", str(trained), many_files[0])
    assert (done.code, len(done.err.splitlines())) == (2, 1)


def test_folders_and_patterns_are_expanded(call: Caller, trained: Path, files: list[str]) -> None:
    for name in ("scans/a.png", "scans/deeper/b.png"):
        (call.folder / name).parent.mkdir(exist_ok=True)
        (call.folder / name).write_bytes((call.folder / files[0]).read_bytes())
    (call.folder / "empty").mkdir()
    names = ["scans", "empty", "scans/**/*.png", "no*such", files[0]]
    done = call("mnist-predict", "-q", str(trained), *names)
    assert [line.split("\t")[0] for line in done.out.splitlines()] == [
        *("scans/a.png", "scans/a.png", "scans/deeper/b.png", files[0])
    ]
    empty, nothing = done.err.splitlines()
    assert empty.startswith("error: cannot read the folder 'empty': it has no image in it")
    assert nothing.startswith("error: cannot read 'no*such': no such file")
    assert done.code == 3


def test_earlier_results_print_before_a_pipe_blocks(
    shell: Shell, trained: Path, files: list[str]
) -> None:
    os.mkfifo(shell.folder / "pipe")
    command = f"timeout 60 mnist-predict {trained} {files[0]} pipe {files[1]} -"
    done = shell.bash(
        f"cat {files[2]} | {command} | (read -r line; echo $line; cat {files[3]} >pipe; cat)"
    )
    assert [line.split()[0] for line in done.out.splitlines()] == [files[0], "pipe", files[1], "-"]


def test_a_network_that_computes_no_finite_numbers_is_refused(
    call: Caller, trained: Path, files: list[str]
) -> None:
    content = torch.load(trained, weights_only=True)
    for weights in content["weights"].values():
        weights.fill_(3e38)
    content["weights_sha256"] = weights_sha256(content["weights"])
    torch.save(content, call.folder / "huge.pt")
    done = call("mnist-predict", "huge.pt", files[0])
    assert (done.code, done.out, len(done.err.splitlines())) == (4, "", 1)
    assert "not finite" in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_memory_does_not_grow_with_the_number_of_large_files(
    shell: Shell, trained: Path, files: list[str]
) -> None:
    script = (
        "import re, runpy, sys\n"
        "from pathlib import Path\n"
        "def peak():\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    return int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) // 1024\n"
        "from mnist_cli.prediction.predict import predict\n"
        "from mnist_cli.config.programs import PredictConfig\n"
        "checkpoint, first, *rest = sys.argv[1:]\n"
        "list(predict(checkpoint, [first], PredictConfig()))\n"
        "before = peak()\n"
        "found = list(predict(checkpoint, rest, PredictConfig()))\n"
        "print(len(found), peak() - before)\n"
    )
    kinds = ["png, largest", "too many bytes"]
    kinds += ["gif, comments", "jpeg, largest", "tiff, largest", "jpeg, four scans"] if LONG else []
    for number, kind in enumerate(kinds):
        (shell.folder / str(number)).write_bytes(HOSTILE[kind][0]())
    names = [*map(str, range(len(kinds)))] * 3
    done = shell("python", "-c", script, str(trained), files[0], *names)
    assert done.code == 0, done.err
    found, growth = map(int, done.out.split())
    assert found == len(names)
    # One file takes 300 MB; the allocator keeps the rest. Three at the same time would take 800.
    assert 100 < growth < 450
