"""What the network saw of images, saved as pictures."""

import io
import os
import stat
from pathlib import Path

from PIL import Image
from torch import Tensor

from mnist_cli.errors import OutputError
from mnist_cli.runtime.files import check_writable, write_atomic

_MAX_STEM = 200  # bytes: a name may have 255, and there is more to it while it is being written


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
                f"--save-seen {folder!r}: cannot be made: {reason}; name a folder"
            ) from error
        check_writable(self._folder / "seen.png")
        self._taken: set[str] = set()

    def save(self, seen: Tensor, path: str) -> None:
        """Write `uint8 [28, 28]` to NAME.png for an image NAME, or else to NAME-2.png and so on.

        No file is replaced. One that holds this very picture, as when the same images are read
        again, is left as it is.

        Raises:
            OutputError: it could not be written.

        """
        height, width = seen.shape
        file = io.BytesIO()
        Image.frombytes("L", (width, height), bytes(seen.flatten().tolist())).save(file, "PNG")
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
        """Tell whether something other than a file that holds `data` has a name."""
        place = self._folder / name
        try:
            status = place.lstat()
            same = stat.S_ISREG(status.st_mode) and status.st_size == len(data)
            return not same or place.read_bytes() != data
        except FileNotFoundError:
            return False
        except PermissionError:  # so it is somebody else's
            return True
        except OSError:  # a name that cannot be: to write it will tell why
            return False
