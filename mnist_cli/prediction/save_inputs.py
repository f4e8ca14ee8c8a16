"""Save the network's inputs as images."""

import io
import os
import stat
from pathlib import Path

from PIL import Image

from mnist_cli.errors import OutputError
from mnist_cli.prediction.preprocess import Pixels
from mnist_cli.runtime.files import check_writable, write_atomic

_MAX_STEM = 200  # bytes: a name may have 255, and the temporary file has a longer one


class InputFolder:
    """A folder of network inputs, named after the images that they were made from."""

    def __init__(self, folder: str) -> None:
        """Create the folder if it does not exist.

        Raises:
            OutputError: it cannot be created, or is not writable.

        """
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"--save-seen {folder!r}: cannot be made: {reason}; name a folder"
            ) from error
        check_writable(self._folder / "seen.png")
        self._taken: set[str] = set()

    def save(self, image: Pixels, path: str) -> None:
        """Write `[28, 28]` to NAME.png for an image NAME, or else to NAME-2.png and so on.

        No file is replaced. A file that already holds this input is kept.

        Raises:
            OutputError: it could not be written.

        """
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        stem = "stdin" if path == "-" else Path(path).stem
        while len(os.fsencode(stem)) > _MAX_STEM:
            stem = stem[:-1]
        name, number = f"{stem}.png", 1
        while name.casefold() in self._taken or self._is_other(name, file.getvalue()):
            number += 1
            name = f"{stem}-{number}.png"
        self._taken.add(name.casefold())
        if not os.path.lexists(self._folder / name):
            write_atomic(self._folder / name, file.getvalue())

    def _is_other(self, name: str, data: bytes) -> bool:
        """Return True if the name is taken by anything but a file that holds `data`."""
        path = self._folder / name
        try:
            status = path.lstat()
            same = stat.S_ISREG(status.st_mode) and status.st_size == len(data)
            return not same or path.read_bytes() != data
        except FileNotFoundError:
            return False
        except PermissionError:  # so it belongs to another user
            return True
        except OSError:  # an impossible name: writing it reports why
            return False
