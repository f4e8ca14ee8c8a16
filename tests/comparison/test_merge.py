"""Comparisons whose runs were made in several folders."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_cli.comparison.compare import compare
from mnist_cli.comparison.events import CompareEnd, RunEnd, RunStart, Tuned
from mnist_cli.comparison.findings import Conclusions
from mnist_cli.comparison.results import Results
from mnist_cli.config.compare import CompareConfig, resolve
from mnist_cli.errors import DataError, UsageError
from mnist_cli.output.measurements import encode
from tests.helpers.comparisons import of, run, timeless

pytestmark = pytest.mark.slow


@pytest.fixture
def whole(asked: CompareConfig) -> CompareConfig:
    """Return a comparison that is finished."""
    list(compare(asked))
    return asked


def parted(config: CompareConfig, folder: Path) -> str:
    """Divide the records of a comparison between two folders, and return the list of both."""
    for number, path in enumerate(sorted(Path(config.output).glob("*.jsonl"))):
        part = folder / "ab"[number % 2]
        part.mkdir(exist_ok=True)
        shutil.copy(path, part)
    return f"{folder / 'a'},{folder / 'b'}"


def merged(config: CompareConfig, folder: Path, **changes: Any) -> CompareConfig:
    return replace(config, merge=parted(config, folder), output=str(folder / "merged"), **changes)


def test_two_halves_put_together_are_the_whole_comparison(
    whole: CompareConfig, tmp_path: Path
) -> None:
    one, other = Results(), Results()
    list(compare(whole, one))  # from its records, as the other one
    events = list(compare(merged(whole, tmp_path), other))
    assert of(CompareEnd, events)[0].arms_run == 0
    assert all(start.finished_before for start in of(RunStart, events))
    assert other.runs == one.runs
    assert encode(other, "a.csv") == encode(one, "a.csv")
    conclusions = [replace(each.conclusions, seconds=0.0) for each in (one, other)]  # type: ignore[type-var]
    assert conclusions[0] == conclusions[1]
    assert isinstance(conclusions[0], Conclusions)
    command = one.start.command.replace(whole.output, str(tmp_path / "merged"))
    assert other.start.command == command  # which makes all of it
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")
    again = run(replace(whole, output=str(tmp_path / "merged")))  # a folder as any other
    assert of(CompareEnd, again)[0].arms_run == 0
    assert [end.weights_sha256 for end in of(RunEnd, again)] == [
        end.weights_sha256 for end in one.ends
    ]


def test_seeds_sizes_and_values_that_were_made_apart_are_those_of_one_comparison(
    asked: CompareConfig, tmp_path: Path
) -> None:
    config = replace(asked, updates=3, epochs=None)
    together = replace(config, batch_sizes="30,full", vary="momentum=0,0.9", lr=0.01)
    expected = timeless(of(RunEnd, run(together)))
    parts = [
        {"batch_sizes": "30", "vary": "momentum=0,0.9", "seeds": 1},
        {"batch_sizes": "30", "momentum": 0.0, "seed": 1, "seeds": 1},
        {"batch_sizes": "30", "momentum": 0.9, "seed": 1, "seeds": 1},
        {"batch_sizes": "full", "vary": "momentum=0.9,0"},
    ]
    folders = [str(tmp_path / str(number)) for number in range(len(parts))]
    for part, folder in zip(parts, folders, strict=True):
        run(replace(config, lr=0.01, output=folder, **part))  # type: ignore[arg-type]
    found = run(replace(together, merge=",".join(folders), output=str(tmp_path / "all")))
    assert timeless(of(RunEnd, found)) == expected


def test_tuned_rates_are_those_of_the_folders(asked: CompareConfig, tmp_path: Path) -> None:
    options = {"lr_rule": "tuned", "tune_seeds": 1, "val_size": 50, "seeds": 1, "epochs": 1}
    config = replace(asked, batch_sizes="100,full", **options)
    folders = [str(tmp_path / size) for size in ("100", "full")]
    apart = []
    for folder in folders:
        apart += of(Tuned, run(replace(config, batch_sizes=Path(folder).name, output=folder)))
    found = run(replace(config, merge=",".join(folders), output=str(tmp_path / "all")))
    assert [replace(tuned, seconds=0.0) for tuned in of(Tuned, found)] == [
        replace(tuned, seconds=0.0) for tuned in apart
    ]


def test_what_differs_is_told_with_both_values(whole: CompareConfig, tmp_path: Path) -> None:
    config = merged(whole, tmp_path)
    with pytest.raises(UsageError) as error:
        run(replace(config, momentum=0.5, order_seed=3))
    text = str(error.value)
    assert "no run of batches of 30, seed 0 with these options" in text
    assert "--momentum 0.5, --order-seed 3 differs from --momentum 0.0, no --order-seed of" in text
    assert f"{tmp_path}/a/30-seed0-lr0.02-" in text or f"{tmp_path}/b/30-seed0-lr0.02-" in text


def test_what_is_missing_is_told_with_what_there_is(whole: CompareConfig, tmp_path: Path) -> None:
    config = merged(whole, tmp_path)
    with pytest.raises(UsageError) as error:
        run(replace(config, batch_sizes="10,30"))
    text = str(error.value)
    assert "no run of batches of 10, seed 0; there are batch sizes 30, 100, full and seeds" in text
    with pytest.raises(UsageError, match="no run of batches of 30, seed 2; there are"):
        run(replace(config, seeds=3))


def test_records_without_their_options_can_be_merged(whole: CompareConfig, tmp_path: Path) -> None:
    """Those that were written before there was `--merge`."""
    config = merged(whole, tmp_path)
    for path in tmp_path.glob("[ab]/*.jsonl"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UsageError, match="no run of batches of 30, seed 0; there are"):
        run(replace(config, momentum=0.5))
    assert of(CompareEnd, run(config))[0].arms == 6


def test_a_run_that_two_folders_have_may_not_differ(whole: CompareConfig, tmp_path: Path) -> None:
    config = merged(whole, tmp_path)
    both = replace(config, merge=f"{config.merge},{whole.output}")
    assert of(CompareEnd, run(both))[0].arms == 6
    for path in Path(whole.output).glob("30-seed0*.jsonl"):
        path.write_text(path.read_text().replace('"train_seconds": ', '"train_seconds": 1'))
    with pytest.raises(DataError) as error:
        run(replace(both, output=str(tmp_path / "other")))
    text = str(error.value)
    assert "are records of the same run that differ" in text
    assert text.count("/30-seed0-lr0.02-") == 2
    assert whole.output in text


@pytest.mark.parametrize("damage", ["line", "pipe", "folder", "other run"])
def test_what_is_not_a_sound_record_is_an_error_that_names_it(
    damage: str, whole: CompareConfig, tmp_path: Path
) -> None:
    config = merged(whole, tmp_path)
    (path,) = tmp_path.glob("[ab]/30-seed1-*.jsonl")
    text = path.read_text()
    path.unlink()
    match damage:
        case "line":
            path.write_text(text.replace("}\n", "\n", 1))
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.write_text(text.replace('"seed": 1', '"seed": 0'))
    with pytest.raises(DataError, match=rf"{path} is damaged"):
        run(config)


def test_a_dangling_link_is_a_missing_run(whole: CompareConfig, tmp_path: Path) -> None:
    config = merged(whole, tmp_path)
    (path,) = tmp_path.glob("[ab]/30-seed1-*.jsonl")
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no run of batches of 30, seed 1"):
        run(config)


def test_a_damaged_record_in_the_output_is_replaced(whole: CompareConfig, tmp_path: Path) -> None:
    config = merged(whole, tmp_path)
    run(config)
    (path,) = Path(config.output).glob("30-seed1-*.jsonl")
    sound = path.read_bytes()
    path.write_text("damaged\n")
    run(config)
    assert path.read_bytes() == sound


def test_paths_of_the_weights_come_along(asked: CompareConfig, tmp_path: Path) -> None:
    options = {"probe": "path", "probe_samples": 20, "seeds": 1, "batch_sizes": "30,100"}
    config = replace(asked, **options)
    expected = Results()
    list(compare(config, expected))
    assert expected.plane
    for size in ("30", "100"):
        run(replace(config, batch_sizes=size, output=str(tmp_path / size)))
    found = Results()
    folders = f"{tmp_path / '30'},{tmp_path / '100'}"
    list(compare(replace(config, merge=folders, output=str(tmp_path / "all")), found))
    assert found.plane
    assert replace(found.plane, seconds=0) == replace(expected.plane, seconds=0)


def test_a_damaged_path_is_an_error_every_time(asked: CompareConfig, tmp_path: Path) -> None:
    config = replace(asked, probe="path", probe_samples=20, seeds=1, batch_sizes="100")
    run(config)
    (path,) = Path(asked.output).glob("*.path.npy")
    path.unlink()
    os.mkfifo(path)
    config = replace(config, merge=asked.output, output=str(tmp_path / "all"))
    for _ in range(2):
        with pytest.raises(DataError, match=f"{path.name} is damaged"):
            run(config)


def test_a_folder_that_is_not_there_and_options_that_train_are_refused(
    asked: CompareConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for name, reason in (
        ("nowhere", "No such file or directory"),
        ("file", "Not a directory"),
        ("a" * 300, "File name too long"),
    ):
        with pytest.raises(DataError, match=f"cannot read the folder .*: {reason}; name the --out"):
            run(replace(asked, merge=str(tmp_path / name)))
    assert not Path(asked.output).exists()
    with pytest.raises(UsageError, match="--jobs 2 trains runs, and --merge none"):
        resolve(replace(asked, merge="a,b", jobs=2))
    with pytest.raises(UsageError, match="--merge names no folder"):
        resolve(replace(asked, merge=","))
