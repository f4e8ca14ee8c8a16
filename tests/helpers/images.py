"""Images as the programs read them."""

from mnist_cli.data.pictures import decode
from mnist_cli.data.pictures.decode import pillow_silenced
from mnist_cli.data.pictures.preprocess import Pixels


def read_image(source: bytes, name: str, *, reads_digits: bool = True) -> Pixels:
    """Return the digit in an image file, `uint8 [28, 28]`, without a word from Pillow."""
    with pillow_silenced():
        return decode.read_image(source, name, reads_digits=reads_digits).digit.pixels
