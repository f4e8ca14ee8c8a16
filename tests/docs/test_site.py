"""Tests of the site of the documentation."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "zensical.toml"


def pages_of(nav: object) -> list[str]:
    """Return the pages that a navigation leads to."""
    if isinstance(nav, str):
        return [nav]
    parts: Any = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_of(part)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the configuration, and the pages where it expects them."""
    shutil.copy(CONFIG, tmp_path)
    folder = tomllib.loads(CONFIG.read_text())["project"]["docs_dir"]
    run_path(str(ROOT / "docs" / "make_site.py"))["lay_out"](tmp_path / folder)
    return tmp_path


def test_every_page_is_in_the_navigation_and_comes_with_what_it_links_to(project: Path) -> None:
    config = tomllib.loads(CONFIG.read_text())["project"]
    folder = project / config["docs_dir"]
    named = sorted(pages_of(config["nav"]))
    linked_only = {"mnist_cli/data/mnist/NOTICE.md"}
    laid_out = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    assert named == sorted(laid_out - linked_only)
    for name in named:
        for link in re.findall(r"\]\(([^)#\s]+)", (folder / name).read_text()):
            assert "://" in link or ((folder / name).parent / link).is_file(), f"{name}: {link}"


@pytest.mark.slow
def test_it_is_built_without_a_warning_and_asks_no_other_server_for_anything(project: Path) -> None:
    pytest.importorskip("zensical")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    home = (project / "site" / "index.html").read_text()
    assert "Train" in home
    assert not re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=\"?https?:", home)
