"""Grayscale images drawn as text."""

from rich.style import Style

from mnist_cli.data.splits import Dataset
from mnist_cli.output.predict_display import half_blocks


def test_half_blocks_have_two_pixels_in_each_cell(mnist: Dataset) -> None:
    pixels = mnist.test.images[0]
    lines = half_blocks(pixels.numpy())
    assert [line.cell_len for line in lines] == [28] * 14
    for y, line in enumerate(lines):
        for x, span in enumerate(line.spans):
            assert isinstance(span.style, Style)
            assert span.style.color
            assert span.style.bgcolor
            shown = [colour.get_truecolor() for colour in (span.style.color, span.style.bgcolor)]
            assert shown == [(v, v, v) for v in pixels[2 * y : 2 * y + 2, x].tolist()]
    plain = half_blocks(pixels.numpy(), colour=False)
    assert [line.cell_len for line in plain] == [28] * 14
    assert set("".join(line.plain for line in plain)) <= set(" ░▒▓█")
    assert not any(line.spans for line in plain)
