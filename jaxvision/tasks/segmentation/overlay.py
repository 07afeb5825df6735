"""Masks over pictures, for the eye: at full size, and side by side at a size to look at."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PANEL_PIXELS = 2048  # the longest side of a panel in the side by side picture
MASK_COLOUR = np.float32((255, 60, 0))
GAP = 8  # pixels between panels
LINE = 20  # height of a legend's line, pixels
# Of classes, the first of which is what lies between the others.
_COLOURS = (
    *((0, 0, 0), (255, 60, 0), (0, 150, 255), (0, 190, 110), (255, 205, 0), (200, 90, 255)),
    *((0, 220, 220), (255, 120, 190), (150, 100, 50), (160, 200, 0), (110, 110, 220)),
)


def palette_of(count: int, given: Sequence[str] = ()) -> np.ndarray:
    """Colours of so many classes, uint8 [count, 3]: those `given`, as '#rrggbb', or ours."""
    if given:
        return np.uint8([list(bytes.fromhex(text[1:])) for text in given])
    golden = (colorsys.hsv_to_rgb(k * 0.618 % 1, 0.7, 0.9) for k in range(len(_COLOURS), count))
    more = [tuple(round(255 * value) for value in colour) for colour in golden]
    return np.uint8([*_COLOURS, *more][:count])


def mask_over(picture: np.ndarray, mask: np.ndarray, colour: np.ndarray = MASK_COLOUR):
    """A picture, uint8 [H, W, 3], half covered by a colour where mask, bool [H, W], is set."""
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = to_uint8(0.5 * levels + 0.5 * np.float32(colour))  # [256, 3]
    result = picture.copy()
    result[mask] = table[picture[mask], [0, 1, 2]]
    return result


def classes_over(picture: np.ndarray, mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """As `mask_over`, of a mask of classes, uint8 [H, W]; the first of them is not covered."""
    for number in range(1, len(palette)):
        picture = mask_over(picture, mask == number, palette[number])
    return picture


def with_legend(picture: np.ndarray, classes: Sequence[str], palette: np.ndarray) -> np.ndarray:
    """The picture above a square of each class' colour with its name; lines break as they must."""
    font = ImageFont.load_default(size=13)
    widths = [2 * LINE + round(font.getlength(name)) for name in classes]
    width = max(picture.shape[1], *widths)
    places, x, y = [], 0, picture.shape[0]
    for own in widths:
        if x + own > width:
            x, y = 0, y + LINE
        places.append((x, y))
        x += own
    canvas = Image.new("RGB", (width, y + LINE), (255, 255, 255))
    canvas.paste(Image.fromarray(picture))
    draw = ImageDraw.Draw(canvas)
    for (x, y), name, colour in zip(places, classes, palette.tolist(), strict=True):
        draw.rectangle((x + 4, y + 4, x + LINE - 4, y + LINE - 4), tuple(colour), (0, 0, 0))
        draw.text((x + LINE, y + 2), name, (0, 0, 0), font)
    return np.asarray(canvas)


class BlockMeans:
    """A picture reduced to PANEL_PIXELS or less a side: means over square blocks of pixels."""

    def __init__(self, height: int, width: int, channels: int):
        self.block = -(-max(height, width) // PANEL_PIXELS)
        self.columns = np.arange(0, width, self.block)
        blocks = np.arange(0, height, self.block)
        self.sums = np.zeros((len(blocks), len(self.columns), channels), np.uint32)
        across = np.diff(self.columns, append=width)
        self.pixels = np.outer(np.diff(blocks, append=height), across)[:, :, None]
        self.next_row = 0

    def add(self, rows: np.ndarray) -> None:
        """rows: uint8 [n, width, channels], the next ones down the picture."""
        end = self.next_row + len(rows)
        first = self.next_row // self.block
        starts = np.arange(first * self.block, end, self.block) - self.next_row
        sums = np.add.reduceat(rows, starts.clip(0), axis=0, dtype=np.uint32)
        sums = np.add.reduceat(sums, self.columns, axis=1)
        self.sums[first : first + len(sums)] += sums
        self.next_row = end

    def means(self) -> np.ndarray:
        """uint8 [blocks down, blocks across, channels]."""
        return np.stack([to_uint8(s / n) for s, n in zip(self.sums, self.pixels, strict=True)])


def reduced(picture: np.ndarray) -> np.ndarray:
    """A whole picture, uint8 [H, W, channels], as `BlockMeans` reduces it."""
    if max(picture.shape[:2]) <= PANEL_PIXELS:
        return picture
    blocks = BlockMeans(*picture.shape)
    blocks.add(picture)
    return blocks.means()


def side_by_side(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The picture | the mask over it.

    Args:
      image: uint8 [H, W, 3].
      mask: uint8 [H, W, 1], 255 where all is building; or [H, W, 4], the colours of classes and
        255 where all is covered by them, both 0 elsewhere.
    """
    gap = np.full((GAP, 3), 255, np.uint8)
    rows = []
    for colours, share in zip(image, mask, strict=True):  # by rows: floats take four times more
        opacity = share[:, -1:] / np.float32(2 * 255)
        paint = MASK_COLOUR * opacity if share.shape[1] == 1 else share[:, :3] / np.float32(2)
        overlay = colours * (1 - opacity) + paint
        rows.append(np.concatenate([colours, gap, to_uint8(overlay)]))
    return Image.fromarray(np.stack(rows))


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounded to uint8."""
    return values.round().astype(np.uint8)
