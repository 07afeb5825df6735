"""What every listing of pictures with masks is made of."""

from collections.abc import Iterable
from typing import NamedTuple

from jaxvision.input_pipeline.readers.aerial.outlines import Drawing


class Example(NamedTuple):
    """An image and its mask.

    Attributes:
      name: unique in the data set's split.
      key: what the hash splits by.
      split: 'train', 'val', 'test', or '' where the user gave none.
      image: path of a local file.
      mask: path of one, or the outlines that draw it.
      image_label, mask_label: what messages call them: path from the root, or csv row and value.
    """

    name: str
    key: str
    split: str
    image: str
    mask: str | Drawing
    image_label: str
    mask_label: str


class Listing(NamedTuple):
    """Attributes:
    examples: that have both files, as far as names tell.
    problems: one line for each example that has not.
    total: examples and problems.
    notes: for the log.
    """

    examples: list[Example]
    problems: list[str]
    total: int
    notes: list[str]


def first_names(names: Iterable[str]) -> str:
    """'a, b, c and 4 more', or 'no files'."""
    names = sorted(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "no files"
