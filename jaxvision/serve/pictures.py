"""From the body of a request to pictures in memory, uint8 [H, W, 3]."""

import io
import itertools
import re
import threading
import warnings
from email.message import Message
from typing import Any, NamedTuple

import numpy as np
import orjson
from PIL import Image, UnidentifiedImageError

from jaxvision.errors import UserError
from jaxvision.input_pipeline.images import decode_bytes
from jaxvision.serve.refused import Refused

# Raw bytes come under these types; the last is what curl says unless told otherwise.
RAW_TYPES = (
    "",
    "image/png",
    "image/jpeg",
    "image/tiff",
    "image/webp",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
)
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
PARTS = 64  # of a multipart body, files or not
WRONG_TYPE = "not a picture that can be read: send the bytes of a PNG, JPEG, TIFF or WebP file"
SHAPE = "image must be [H][W][3]: rows of pixels of three numbers from 0 to 255"

_SIGNATURES = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP", re.S)
_HEAD = re.compile(rb'\s*\{\s*"image"\s*:\s*\[')
_TAIL = re.compile(rb"\]\s*\}\s*$")
_PLAIN = bytes.maketrans(b"[]", b"  ")
_SPACES, _NUMBER_PARTS = b" \t\r\n", b"0123456789 \t\r\n"
_one_at_a_time = threading.Lock()  # nested lists of a large picture are a few hundred MB


class File(NamedTuple):
    """A picture that was sent: its name, which is only ever told back, and its bytes."""

    name: str
    data: bytes


def content_type(value: str) -> tuple[str, dict[str, str]]:
    """'multipart/form-data; boundary=x' -> ('multipart/form-data', {'boundary': 'x'})."""
    if ";" not in value:
        return value.strip().lower(), {}
    message = Message()
    message["content-type"] = value
    return message.get_content_type(), dict(message.get_params()[1:])


def pixels_of(data: bytes, limit: int) -> int:
    """How many pixels the header of a picture announces.

    Raises:
      Refused: no such picture (415), a header that cannot be read (422), more than `limit` (413).
    """
    if not _SIGNATURES.match(data):
        raise Refused(415, WRONG_TYPE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise Refused(413, f"a picture of more than {limit} pixels: send it smaller") from None
    except UnidentifiedImageError:
        raise Refused(422, "the picture is damaged: its header cannot be read") from None
    except Exception as error:  # decoders raise nearly anything on a damaged file
        raise Refused(422, f"the picture is damaged: {error or type(error).__name__}") from None
    check_pixels(height, width, limit)
    return height * width


def check_pixels(height: int, width: int, limit: int) -> None:
    """Raises Refused (413) for too large a picture."""
    if height * width > limit:
        raise Refused(
            413,
            f"the picture has {width} x {height} pixels, more than {limit}: send it smaller, or in "
            "parts",
        )


def decode(
    data: bytes, limit: int, value_range: tuple[float, ...] = (), least_side: int = 0
) -> np.ndarray:
    """The picture, uint8 [H, W, 3].

    `value_range` is the model's data.range, `least_side` its predictor's.

    Raises:
      Refused: it is damaged, or of a kind that is not read (422).
    """
    try:
        return decode_bytes(data, limit, value_range, least_side)
    except UserError as error:
        raise Refused(422, f"the picture cannot be read: {error}") from None


def read_multipart(body: bytes, boundary: str, limit: int) -> list[File]:
    """The files of a multipart/form-data body; other fields are passed over.

    Raises:
      Refused: malformed or without a file (400), too many parts (413).
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    if not boundary or len(boundary) > 200 or not boundary.isascii():
        raise Refused(400, "multipart/form-data without a usable boundary")
    collected = _Parts(limit)
    parser = MultipartParser(boundary.encode(), collected.callbacks())
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"malformed multipart body: {error}") from None
    if not collected.ended:
        raise Refused(400, "the multipart body ends before its last boundary")
    if not collected.files:
        raise Refused(400, "no file in the multipart body: add one as a form field with a file")
    return collected.files


class _Parts:
    """Collects what a multipart parser calls out."""

    def __init__(self, limit: int):
        self.limit, self.count, self.ended, self.files = limit, 0, False, []
        self.field = self.value = self.disposition = b""
        self.data: list[bytes] = []

    def callbacks(self) -> dict[str, Any]:
        names = ("part_begin", "header_begin", "header_field", "header_value", "header_end",
                 "part_data", "part_end", "end")  # fmt: skip
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        self.count += 1
        self.disposition, self.data = b"", []
        if self.count > PARTS:
            raise Refused(413, f"more than {PARTS} parts in the multipart body: send fewer at once")

    def header_begin(self) -> None:
        self.field = self.value = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def header_end(self) -> None:
        if self.field.lower() == b"content-disposition":
            self.disposition = self.value

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self.data.append(data[start:end])

    def part_end(self) -> None:
        message = Message()
        message["content-disposition"] = self.disposition.decode("utf-8", "replace")
        name = message.get_filename()
        if name is None:
            return
        if len(self.files) == self.limit:
            raise Refused(413, f"more than {self.limit} files: send fewer at once")
        self.files.append(File(name[:200], b"".join(self.data)))

    def end(self) -> None:
        self.ended = True


def read_json(body: bytes, limit: int) -> np.ndarray:
    """The picture of {"image": [H][W][3]}, uint8 [H, W, 3]; numbers are rounded.

    Whole numbers in regular rows, what every client sends, are read some ten times as fast as by a
    JSON parser; anything else goes through one.

    Raises:
      Refused: no JSON (400); not such an array, or a value out of range (422); too large (413).
    """
    picture = _read_plain(body)
    if picture is None:
        with _one_at_a_time:
            picture = _read_any(body)
    check_pixels(*picture.shape[:2], limit)
    return picture


def _read_plain(body: bytes) -> np.ndarray | None:
    """As `read_json`; None for what is not exactly {"image": rows of pixels of whole numbers}."""
    head, tail = _HEAD.match(body), _TAIL.search(body[-64:])
    if not head or not tail:
        return None
    text = body[head.end() - 1 : len(body) - len(body[-64:]) + tail.start() + 1]
    brackets = text.translate(None, _NUMBER_PARTS)
    width = max(brackets.find(b"]]") // 5, 1)  # "[[[,,],[,,]],...": a pixel and its comma are 5
    row = b"[" + b",".join([b"[,,]"] * width) + b"]"
    height = (len(brackets) - 1) // (len(row) + 1)
    if height < 1 or brackets != b"[" + b",".join([row] * height) + b"]":
        return None
    characters = np.frombuffer(text, np.uint8)
    digit = characters - ord("0") < 10  # of uint8: others wrap around
    zero_first = (characters[1:-1] == ord("0")) & digit[2:] & ~digit[:-2]
    if zero_first.any():  # 007 is no JSON
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how numpy says that it stopped early
        try:
            # Brackets are spaces now, so '1 2' or '1][2' stop it, as they must.
            values = np.fromstring(text.translate(_PLAIN), np.int64, sep=" , ")
        except (DeprecationWarning, ValueError):
            return None
    if values.size != height * width * 3 or values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(height, width, 3)


def _read_any(body: bytes) -> np.ndarray:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict) or "image" not in value:
        raise Refused(422, 'the body must be {"image": [H][W][3]}')
    rows = value["image"]
    if not _is_list(rows) or not all(_is_list(row) for row in rows):
        raise Refused(422, SHAPE)
    if len({len(row) for row in rows}) != 1:
        raise Refused(422, f"image is ragged: its rows differ in length; {SHAPE}")
    pixels = list(itertools.chain.from_iterable(rows))
    if not all(_is_list(pixel) for pixel in pixels):
        raise Refused(422, SHAPE)
    channels = {len(pixel) for pixel in pixels}
    if channels != {3}:
        raise Refused(422, f"image has pixels of {sorted(channels)} channels; {SHAPE}")
    values = list(itertools.chain.from_iterable(pixels))
    wrong = set(map(type, values)) - {int, float}
    if wrong:
        raise Refused(422, f"image holds {wrong.pop().__name__} in place of a number; {SHAPE}")
    array = np.array(values, np.float64)
    if not (array.min() >= 0 and array.max() <= 255):
        raise Refused(422, f"image has values from {array.min():g} to {array.max():g}; {SHAPE}")
    return array.round().astype(np.uint8).reshape(len(rows), len(rows[0]), 3)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0
