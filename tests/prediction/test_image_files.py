"""Folders and patterns that stand for image files."""

from pathlib import Path

import pytest

from mnist_cli.prediction.image_files import find_image_files


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Paths":
    monkeypatch.chdir(tmp_path)
    for name in ("0.png", "scans/b.PNG", "scans/a.png", "scans/notes.txt", "scans/.hidden.png"):
        create(name)
    create("scans/deeper/c.png")
    create("scans/.cache/d.png")
    Path("empty").mkdir()
    return Paths()


def create(name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True, parents=True)
    Path(name).write_bytes(b"")


class Paths:
    def __call__(self, *names: str) -> list[str]:
        files = list(find_image_files(names))
        assert not any(file.error for file in files)
        return [file.path for file in files]


def test_a_folder_stands_for_its_images_and_a_pattern_for_its_matches(paths: Paths) -> None:
    assert paths("scans") == ["scans/a.png", "scans/b.PNG"]
    assert paths("./scans/") == ["./scans/a.png", "./scans/b.PNG"]
    assert paths("sc*/*.png", "0.png", "-") == ["scans/a.png", "0.png", "-"]
    assert paths("scans/**/*.png") == ["scans/a.png", "scans/deeper/c.png"]
    assert paths("**/d*/c**.png") == ["scans/deeper/c.png"], "** in a name is *"
    assert paths("**/.cache/*.png") == ["scans/.cache/d.png"], "what a pattern names isn't hidden"
    assert paths("scans/deep*") == ["scans/deeper/c.png"], "a folder that matches is opened"
    assert paths("missing", "") == ["missing", ""]
    create("[0-9]*.png")
    assert paths("[0-9]*.png") == ["[0-9]*.png"], "a file of that very name has priority"


def test_names_without_an_image_are_errors(paths: Paths) -> None:
    empty, nothing, bracket = find_image_files(["empty", "no*such", "a [1]/*.png"])
    assert str(empty.error).startswith("cannot read the folder 'empty': it has no image in it")
    assert str(nothing.error).startswith("cannot read 'no*such': no such file, and no file matches")
    assert "write [ as [[]" in str(bracket.error)
    (zero,) = find_image_files(["a*\0"])
    assert zero.path == "a*\0"


def test_links_are_not_followed_and_other_files_are_left_out(paths: Paths) -> None:
    Path("scans/b.PNG").unlink()
    Path("scans/itself").symlink_to(".")
    Path("scans/again").symlink_to("../scans")
    Path("scans/deeper/loop.png").symlink_to("loop.png")
    both = ["scans/a.png", "scans/deeper/c.png"]
    for name, expected in {
        "scans": both[:1],
        "scans/**": both,
        "**/deep*/**": both[1:],
        "scans/*": [*both[:1], "scans/again/a.png", both[1], "scans/itself/a.png"],
        "scans/**/[ac]*.png": both,
        "scans/n*": ["scans/notes.txt"],
    }.items():
        assert paths(name) == expected, name
    assert paths(f"{Path.cwd()}/**/c.png") == [f"{Path.cwd()}/scans/deeper/c.png"]
