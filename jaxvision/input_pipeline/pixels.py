"""Pixel values of any depth brought to 8 bits, by the range that a file declares or a user states.

A file declares its range by its kind (8 bits: 0 to 255; 10 or 12 bits as such: 0 to 2^n - 1), by
PNG's sBIT, or by TIFF's MaxSampleValue and SMaxSampleValue. Floats without any are in [0, 1], and
16-bit values fill their range, as is usual; where they visibly do not, the picture is refused: its
range cannot be known, and a guess would give one that is near black.
"""

from collections.abc import Sequence

import numpy as np

from jaxvision.errors import UserError

FULL_16 = (0.0, 65535.0)
# Values that leave three quarters of an undeclared range empty are of fewer bits: 10, 12 or 14.
LEAST_SHARE = 0.25
OUTSIDE_SHARE = 0.5  # more pixels than this outside a stated range: it is that of other pictures


def check_range(value_range: Sequence[float]) -> tuple[float, ...]:
    """`data.range` as () or two floats.

    Raises:
      UserError: it is something else.
    """
    value_range = tuple(value_range)
    numbers = all(isinstance(v, (int, float)) and np.isfinite(v) for v in value_range)
    if value_range and not (len(value_range) == 2 and numbers and value_range[0] < value_range[1]):
        raise UserError(
            f"data.range={value_range}: give (low, high), the values that are black and white, as "
            "(0, 4095); () takes what each file declares"
        )
    return tuple(float(v) for v in value_range)


def refuse_range(value_range: Sequence[float], what: str) -> None:
    """Raises UserError where `data.range` is stated for data that has no use for it."""
    if value_range:
        raise UserError(
            f"data.range={tuple(value_range)} is for picture files of more than 8 bits, and "
            f"{what}: leave it out"
        )


def to_bytes(
    values: np.ndarray, declared: tuple[float, float] | None, stated: Sequence[float]
) -> np.ndarray:
    """uint8 of the same shape: `low` becomes 0 and `high` 255, values beyond are cut off.

    Args:
      values: of any type but 8 bits.
      declared: (low, high) that the file declares; None where it does not.
      stated: (low, high) that the user states, which wins; or ().

    Raises:
      UserError: not a number, no known range, or a range that is plainly that of other pictures.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError("some pixels are NaN or infinite; fill them, or save it as 8 bit")
    if stated:
        outside = np.count_nonzero((values < stated[0]) | (values > stated[1]))
        refuse_outside(outside / max(values.size, 1), stated)
    return scale(values, *(stated or declared or usual_range(values)))


def scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8; 16-bit values over their full range keep their high byte (value // 256)."""
    if values.dtype == np.uint16 and (low, high) == FULL_16:
        return (values >> 8).astype(np.uint8)
    scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
    return scaled.round().clip(0, 255).astype(np.uint8)


def refuse_outside(share: float, stated: Sequence[float]) -> None:
    """Raises UserError where a stated range leaves out most of a picture."""
    if share > OUTSIDE_SHARE:
        raise UserError(
            f"{share:.0%} of its pixels are outside data.range=({stated[0]:g}, {stated[1]:g}): "
            "state the values that are black and white, or () to take what the file declares"
        )


def usual_range(values: np.ndarray) -> tuple[float, float]:
    """The range of values of this type where nothing declares it.

    Raises:
      UserError: this type has none, or the values show that it is not this one.
    """
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and low >= 0 and (high == 0 or LEAST_SHARE <= high <= 1):
        return 0.0, 1.0
    if values.dtype == np.uint16:
        refuse_dark(int(high))
        return FULL_16
    if low == high == 0:
        return 0.0, 1.0  # black, whatever white is
    kind = "floats" if values.dtype.kind == "f" else f"{values.dtype.itemsize * 8}-bit pixels"
    beyond = ", not in [0, 1]" if values.dtype.kind == "f" and (low < 0 or high > 1) else ""
    raise UserError(
        f"{kind} from {low:g} to {high:g}{beyond}, and the file does not declare their range: "
        "state it as data.range=(low, high), or save as 8 bit"
    )


def refuse_dark(brightest: int) -> None:
    """Raises UserError where 16-bit values use so little of their range that it is not theirs."""
    if 0 < brightest < LEAST_SHARE * 65536:
        raise UserError(
            f"16-bit pixels of at most {brightest}, near black as they stand: state their range as "
            f"data.range=(0, {2 ** int(brightest).bit_length() - 1}), or save as 8 bit"
        )


def significant_range(values: np.ndarray, bits: int) -> tuple[float, float]:
    """The range of 16-bit PNG values whose sBIT says that `bits` of them mean something.

    PNG asks writers to scale them to 16 bits, with the lost bits filled by a copy of the high ones
    or by zeros. Some store them as they are; then the low bits fit neither.
    """
    top = 2**bits - 1
    if bits >= 16 or values.max(initial=0) > top:
        return FULL_16
    kept = values >> (16 - bits)
    zeros = kept << (16 - bits)
    scaled = (kept.astype(np.uint32) * 65535 + top // 2) // top
    fits = (values == zeros) | (np.abs(values.astype(np.int64) - scaled) <= 1)
    return FULL_16 if fits.all() else (0.0, float(top))
