"""gettext's .po files, compiled at start: no binary is kept in the repository."""

import hashlib
from pathlib import Path

import polib

from jaxvision.cache import atomic_file


def compiled(sources: Path, cache: Path) -> Path:
    """A folder of .mo files, made from `sources`' .po files unless it is there already.

    Args:
      sources: folder of <language>/LC_MESSAGES/django.po.
      cache: where the compiled folder goes, named by the sources' content.

    Returns:
      a folder for LOCALE_PATHS.
    """
    files = sorted(sources.glob("*/LC_MESSAGES/*.po"))
    content = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = cache / f"locale-{content}"
    for file in files:
        target = (folder / file.relative_to(sources)).with_suffix(".mo")
        if not target.exists():
            with atomic_file(target) as out:
                out.write(polib.pofile(str(file)).to_binary())
    return folder
