"""Lay out the pages of the site for its generator: `python docs/make_site.py FOLDER`.

Every page keeps its path in the repository, so that its links hold, and comes with the files to
which it links. README.md is the home page.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/**/*.md", "benchmarks/README.md", "examples/README.md")


def lay_out(folder: Path) -> None:
    """Copy the pages, and the files that they link to, to an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = {page for pattern in PAGES for page in ROOT.glob(pattern)}
    for path in pages | {linked for page in pages for linked in _linked_files(page)}:
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (folder / "README.md").rename(folder / "index.md")


def _linked_files(page: Path) -> Iterator[Path]:
    """Yield the files to which a page links, pictures included."""
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        path = (page.parent / link).resolve()
        if path.is_file():
            yield path


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
