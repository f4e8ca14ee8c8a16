"""What the network saw of images, saved as pictures."""

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from torch import Tensor

from mnist_cli.errors import OutputError
from mnist_cli.files import check_writable, write_whole

_MAX_STEM = 60  # characters, of up to four bytes: a name may have 255


class Album:
    """A folder of pictures of 28 by 28 pixels, named after the images that they are of."""

    def __init__(self, folder: str) -> None:
        """Make the folder if it is not there.

        Raises:
            OutputError: it cannot be made, or not be written to.

        """
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"--save-seen {folder}: cannot be made: {reason}; name a folder"
            ) from error
        check_writable(self._folder / "seen.png")
        self._taken: set[str] = set()

    def spare(self, paths: Iterable[str]) -> None:
        """Keep the names of images that lie in the folder themselves from being taken."""
        here = self._folder.resolve()
        for path in paths:
            image = Path(path.replace("\0", ""))
            if path != "-" and image.parent.resolve() == here:
                self._taken.add(image.name.casefold())

    def save(self, seen: Tensor, path: str) -> None:
        """Write `uint8 [28, 28]` to NAME.png for an image NAME, or else to NAME-2.png and so on.

        Raises:
            OutputError: it could not be written.

        """
        stem = "stdin" if path == "-" else Path(path).stem[:_MAX_STEM]
        name, number = f"{stem}.png", 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}.png"
        self._taken.add(name.casefold())
        height, width = seen.shape
        file = io.BytesIO()
        Image.frombytes("L", (width, height), bytes(seen.flatten().tolist())).save(file, "PNG")
        write_whole(self._folder / name, file.getvalue())
