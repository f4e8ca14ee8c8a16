"""Draw the test set: `python -m tests.drawn.make FOLDER --seed N`.

The same seed draws the same set, given the same fonts and libraries. The committed set was drawn
once, with a seed that nothing was tuned on; no picture was chosen by hand. It needs these packages
of Debian: fonts-dejavu fonts-liberation2 fonts-freefont-ttf fonts-lato fonts-hack fonts-humor-sans
fonts-comic-neue fonts-dkg-handwriting fonts-breip fonts-bwht fonts-dancingscript
fonts-ecolier-court fonts-femkeklaver fonts-jura fonts-kaushanscript fonts-klee fonts-leckerli-one
fonts-rufscript fonts-tomsontalks fonts-sjfonts fonts-gnutypewriter fonts-yusei-magic fonts-seto
"""

import argparse
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .scenes import Colour, Scene, as_image, lit, shot
from .strokes import written

FONTS = Path("/usr/share/fonts")
_HAND = (
    *("dkg", "Breip", "femkeklaver", "Rufscript010", "KaushanScript-Regular", "Humor-Sans"),
    *("DancingScript-Regular", "KleeOne-Regular", "YuseiMagic-Regular", "Ecolier-court"),
    *("TomsonTalks", "SteveHand", "Delphine", "setofont", "BecauseWeBuild-Regular"),
    *("BecauseWeLearn-Regular", "ComicNeue-Regular"),
)
_PRINT = (
    *("DejaVuSans", "DejaVuSerif", "LiberationSans-Regular", "LiberationSerif-Regular"),
    *("LiberationMono-Regular", "FreeSans", "FreeSerifItalic", "Lato-Regular", "Lato-Italic"),
    *("Hack-Regular", "GNUTypewriter", "Jura-Regular"),
)
_THIN = ("DejaVuSans-ExtraLight", "Lato-Hairline", "Lato-Thin", "Jura-Light", "ComicNeue-Light")
_THICK = (
    *("Lato-Black", "DejaVuSans-Bold", "LeckerliOne-Regular", "FreeSansBold", "dkgBd"),
    *("DejaVuSerif-Bold", "LiberationSans-Bold", "ComicNeue-Bold"),
)
_CONTRASTS: tuple[tuple[Colour, Colour], ...] = (  # paper and ink that are much alike in grey
    ((255, 255, 255), (255, 232, 60)),
    ((40, 80, 210), (200, 40, 40)),
    ((60, 150, 70), (215, 90, 70)),
    ((240, 150, 170), (110, 190, 200)),
    ((150, 150, 150), (240, 110, 40)),
    ((250, 250, 235), (140, 245, 160)),
)


@dataclass(frozen=True)
class Drawing:
    """One picture: what it shows (None: no digit), how it was drawn, and its file."""

    name: str
    digit: int | None
    kind: str
    condition: str
    data: bytes


def drawings(seed: int, rounds: int = 1) -> Iterator[Drawing]:
    """Yield ten digits under each condition, by turns in type and by pen, then none at all."""
    number = 0
    for _ in range(rounds):
        for place, condition in enumerate(CONDITIONS):
            for digit in range(10):
                kind = ("type", "pen")[(digit + place) % 2]
                random = Random(f"{seed} {number}")  # each picture by itself
                data, ending = CONDITIONS[condition](digit, kind, random)
                name = f"{number:03}-{condition.replace(' ', '-')}.{ending}"
                yield Drawing(name, digit, kind, condition, data)
                number += 1
        for _ in range(2):
            for condition in NOTHING:
                random = Random(f"{seed} {number}")
                data, ending = _nothing(condition, random)
                name = f"{number:03}-no-{condition.replace(' ', '-')}.{ending}"
                yield Drawing(name, None, "none", condition, data)
                number += 1


def _font(names: tuple[str, ...], random: Random, size: int) -> ImageFont.FreeTypeFont:
    name = random.choice(names)
    path = next(FONTS.rglob(f"{name}.[ot]tf"))
    return ImageFont.truetype(str(path), size)


def _glyph(digit: int, kind: str, random: Random, weight: str) -> Image.Image:
    """Return a large digit as a mask, turned and sheared a little, cropped to its ink."""
    side = 720
    if kind == "pen":
        pen = {"thin": (0.015, 0.035), "": (0.06, 0.15), "thick": (0.2, 0.27)}[weight]
        mask = written(digit, random, side=side, pen=random.uniform(*pen))
    else:
        names = {"thin": _THIN, "": random.choice((_HAND, _PRINT)), "thick": _THICK}[weight]
        mask = Image.new("L", (side, side))
        font = _font(names, random, side // 2)
        ImageDraw.Draw(mask).text((side / 2, side / 2), str(digit), 255, font, anchor="mm")
    shear = random.uniform(-0.2, 0.2)
    mask = mask.transform(
        mask.size,
        Image.Transform.AFFINE,
        (1, shear, -shear * side / 2, 0, 1, 0),
        Image.Resampling.BILINEAR,
    )
    mask = mask.rotate(random.uniform(-10, 10), Image.Resampling.BILINEAR)
    return mask.crop(mask.getbbox())


def _page(
    digit: int,
    kind: str,
    random: Random,
    weight: str = "",
    share: tuple[float, float] = (0.4, 0.75),
) -> Tensor:
    """Return a page with a digit somewhere, `float [height, width]`: the share of ink."""
    glyph = _glyph(digit, kind, random, weight)
    width, height = random.randint(100, 210), random.randint(100, 210)
    scale = random.uniform(*share) * min(
        width / glyph.width, height / glyph.height, min(width, height) / glyph.height
    )
    size = (max(2, round(glyph.width * scale)), max(2, round(glyph.height * scale)))
    glyph = glyph.resize(size, Image.Resampling.BOX)
    page = Image.new("L", (width, height))
    margin = 3
    left = random.randint(margin, width - size[0] - margin)
    top = random.randint(margin, height - size[1] - margin)
    if share[0] >= 0.4:  # near the middle
        left, top = (left + (width - size[0]) // 2) // 2, (top + (height - size[1]) // 2) // 2
    page.paste(glyph, (left, top))
    values = torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8)
    return values.view(height, width).float() / 255


def _file(image: Image.Image, kind: str, **options: object) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue(), {"JPEG": "jpg", "TIFF": "tif", "PPM": "pgm"}.get(kind, kind.lower())


def _photo(random: Random) -> Scene:
    """Return a photograph of pen on paper."""
    paper = random.choice(((235, 232, 225), (225, 225, 228), (215, 200, 170), (240, 240, 240)))
    ink = random.choice(((25, 25, 30), (30, 40, 120), (60, 60, 65), (150, 30, 40), (130, 130, 132)))
    return Scene(
        paper=paper,
        ink=ink,
        opacity=random.uniform(0.75, 0.95),
        texture=random.uniform(0, 3),
        grain=random.uniform(1, 4),
        fall=random.uniform(0.1, 0.6),
        vignette=random.uniform(0, 0.4),
        shadow=random.choice((0.0, random.uniform(0.1, 0.4))),
        noise=random.uniform(1, 5),
        blur=random.uniform(0.4, 1.4),
        seed=random.getrandbits(32),
    )


def _jpeg(image: Image.Image, random: Random) -> tuple[bytes, str]:
    return _file(image, "JPEG", quality=random.randint(45, 75))


def _screenshot(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    ink, paper = random.choice((((0, 0, 0), (255, 255, 255)), ((40, 40, 60), (238, 238, 220))))
    image = shot(_page(digit, kind, random), Scene(paper=paper, ink=ink))
    return _file(image.convert("P"), random.choice(("PNG", "GIF")))


def _light_on_dark(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    ink, paper = random.choice(
        (
            ((255, 255, 255), (0, 0, 0)),
            ((225, 230, 220), (30, 70, 50)),
            ((150, 190, 255), (10, 15, 50)),
        )
    )
    scene = Scene(
        paper, ink, 0.9, texture=3, grain=6, noise=2, blur=0.6, seed=random.getrandbits(32)
    )
    return _file(shot(_page(digit, kind, random), scene), "WEBP", quality=random.randint(50, 80))


def _photograph(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    return _jpeg(shot(_page(digit, kind, random), _photo(random)), random)


def _rotated(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    """Return a photograph stored on its side or head, with the camera's note of that."""
    image = shot(_page(digit, kind, random), _photo(random))
    orientation, back = random.choice(
        (
            (3, Image.Transpose.ROTATE_180),
            (6, Image.Transpose.ROTATE_90),
            (8, Image.Transpose.ROTATE_270),
        )
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _file(image.transpose(back), "JPEG", quality=random.randint(45, 75), exif=exif)


def _scan(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    scene = Scene(
        paper=(248, 247, 243),
        ink=random.choice(((20, 20, 25), (30, 40, 130), (110, 110, 115))),
        opacity=random.uniform(0.8, 1),
        texture=random.uniform(1, 4),
        grain=random.uniform(1, 3),
        blur=random.uniform(0.3, 0.7),
        specks=random.randint(2, 9),
        seed=random.getrandbits(32),
    )
    image = shot(_page(digit, kind, random), scene).convert("L").quantize(16).convert("L")
    kind = random.choice(("PNG", "TIFF"))
    return _file(image, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))


def _ruled(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    scene = replace(
        _photo(random),
        ink=random.choice(((25, 25, 30), (30, 40, 120))),
        lines=random.choice((("rows",), ("rows", "columns"))),
        shadow=0.0,
    )
    return _jpeg(shot(_page(digit, kind, random), scene), random)


def _coloured(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    paper, ink = random.choice(_CONTRASTS)
    scene = Scene(paper, ink, noise=random.uniform(0, 2), blur=0.5, seed=random.getrandbits(32))
    return _file(shot(_page(digit, kind, random), scene), "WEBP", quality=random.randint(60, 85))


def _transparent(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    mask = _page(digit, kind, random)
    height, width = mask.shape
    image = Image.new(
        "RGBA", (width, height), random.choice(((0, 0, 0), (255, 255, 255), (200, 30, 30)))
    )
    alpha = (mask * 255).round().to(torch.uint8).flatten().tolist()
    image.putalpha(Image.frombytes("L", (width, height), bytes(alpha)))
    return _file(image, random.choice(("PNG", "WEBP")))


def _thin(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    scene = replace(_photo(random), blur=0.4, noise=2.0, opacity=0.95)
    return _jpeg(shot(_page(digit, kind, random, "thin"), scene), random)


def _thick(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    scene = replace(_photo(random), noise=2.0)
    return _jpeg(shot(_page(digit, kind, random, "thick"), scene), random)


def _off_centre(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    return _jpeg(shot(_page(digit, kind, random, share=(0.17, 0.3)), _photo(random)), random)


def _close(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    """Return a photograph that the digit nearly fills."""
    weight = random.choice(("", "thick"))
    page = _page(digit, kind, random, weight)
    inked = (page > 0.3).nonzero()
    (top, left), (bottom, right) = inked.min(0).values.tolist(), inked.max(0).values.tolist()
    edge = [random.randint(2, 10) for _ in range(4)]
    page = page[max(0, top - edge[0]) : bottom + edge[1], max(0, left - edge[2]) : right + edge[3]]
    return _jpeg(shot(page.contiguous(), replace(_photo(random), shadow=0.0)), random)


def _on_a_table(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    """Return a photograph of a sheet of paper with the table it lies on."""
    page = _page(digit, kind, random)
    scene = _photo(random)
    sheet = shot(page, replace(scene, noise=0.0, blur=0.0, vignette=0.0, shadow=0.0, fall=0.0))
    table = random.choice(((90, 60, 40), (60, 65, 70), (120, 90, 60)))
    sides = [random.choice((0, random.randint(8, 40))) for _ in range(4)]
    sides[random.randrange(4)] = random.randint(8, 40)
    width, height = sheet.width + sides[0] + sides[1], sheet.height + sides[2] + sides[3]
    whole = Image.new("RGB", (width, height), table)
    whole.paste(sheet, (sides[0], sides[2]))
    values = torch.frombuffer(bytearray(whole.tobytes()), dtype=torch.uint8)
    picture = values.view(height, width, 3).permute(2, 0, 1).float()
    return _jpeg(as_image(lit(picture, scene)), random)


def _tiny(digit: int, kind: str, random: Random) -> tuple[bytes, str]:
    mask = _page(digit, kind, random)
    image = shot(mask, Scene())
    scale = random.uniform(20, 45) / max(image.size)
    small = image.resize(
        [max(12, round(side * scale)) for side in image.size], Image.Resampling.BOX
    )
    return _file(small.convert("L"), random.choice(("PNG", "BMP", "PPM")))


Maker = Callable[[int, str, Random], tuple[bytes, str]]
CONDITIONS: dict[str, Maker] = {
    "screenshot": _screenshot,
    "light on dark": _light_on_dark,
    "photograph": _photograph,
    "rotated": _rotated,
    "scan": _scan,
    "ruled": _ruled,
    "coloured": _coloured,
    "transparent": _transparent,
    "thin": _thin,
    "thick": _thick,
    "off centre": _off_centre,
    "close": _close,
    "on a table": _on_a_table,
    "tiny": _tiny,
}
NOTHING = (
    *("blank", "lit paper", "textured paper", "noise", "coloured noise", "ruled paper"),
    *("squared paper", "clouds", "wood", "dark photograph", "two halves", "specks"),
)


def _nothing(condition: str, random: Random) -> tuple[bytes, str]:
    """Return a picture of no digit."""
    mask = torch.zeros(random.randint(60, 170), random.randint(60, 170))
    photo = _photo(random)
    if condition == "blank":
        return _file(shot(mask, Scene(paper=random.choice(((255, 255, 255), (9, 9, 30))))), "PNG")
    if condition in ("noise", "coloured noise"):
        generator = torch.Generator().manual_seed(photo.seed)
        bands = 3 if condition == "coloured noise" else 1
        deviation = random.uniform(10, 60)
        values = 128 + deviation * torch.randn(bands, *mask.shape, generator=generator)
        values = values.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
        size = (mask.shape[1], mask.shape[0])
        mode = "RGB" if bands == 3 else "L"
        image = Image.frombytes(mode, size, bytes(values.flatten().tolist()))
        return _file(image, "JPEG", quality=60)
    if condition == "two halves":
        edge = random.randint(30, mask.shape[0] - 20)
        mask[edge:] = 1
        return _jpeg(shot(mask, replace(photo, ink=(90, 70, 60))), random)
    changes: dict[str, dict[str, object]] = {
        "lit paper": {"texture": 0.0},
        "textured paper": {"texture": random.uniform(5, 12)},
        "ruled paper": {"lines": ("rows",)},
        "squared paper": {"lines": ("rows", "columns")},
        "clouds": {"texture": random.uniform(10, 30), "grain": random.uniform(12, 30)},
        "wood": {"texture": 14.0, "grain": 1.5, "paper": (170, 120, 80)},
        "dark photograph": {"paper": (14, 13, 16), "noise": 5.0},
        "specks": {"specks": random.randint(4, 15)},
    }
    image = shot(mask, replace(photo, **changes[condition]))  # type: ignore[arg-type]
    if condition == "wood":
        image = image.resize((image.width * 2, image.height // 2)).resize(image.size)
    return _jpeg(image, random)


def main() -> None:
    """Write a set and its labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = ["path,digit,kind,condition"]
    for drawn in drawings(given.seed, given.rounds):
        (given.folder / drawn.name).write_bytes(drawn.data)
        digit = "-" if drawn.digit is None else str(drawn.digit)
        rows.append(f"{drawn.name},{digit},{drawn.kind},{drawn.condition}")
    (given.folder / "labels.csv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
