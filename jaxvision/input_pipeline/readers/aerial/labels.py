"""What the names of categories and classes are worth in a mask."""

import collections
from collections.abc import Sequence

from jaxvision.errors import UserError


def label_classes(
    classes: Sequence[str],
    found: collections.Counter,
    known: Sequence[str],
    where: str,
) -> tuple[dict[str, int], list[str]]:
    """({name: mask value}, notes); names that are not in it are background.

    Args:
      classes: `data.classes`; (): whatever is outlined is one kind of object; of several, the first
        is what lies outside of all outlines.
      found: how many objects of each name there are.
      known: names that there may be without objects.
      where: what is read, for messages.

    Raises:
      UserError: there are several names and none is asked for, or one is asked for that there is
        not, or the first of several has outlines.
    """
    if not classes:
        if len(found) > 1:
            listed = ", ".join(f"{name} ({count})" for name, count in found.most_common(8))
            raise UserError(
                f"{where} has {len(found)} kinds of objects, {listed}: say which to find, as "
                f"--config.data.classes=('{found.most_common(1)[0][0]}',), or several after the "
                "name of what lies between them, as ('background', ...)"
            )
        return dict.fromkeys([*found, *known], 1), []
    several = len(classes) > 1
    if several and found[classes[0]]:
        raise UserError(
            f"{where} has outlines of {classes[0]!r}, and the first of data.classes is what lies "
            "outside of all outlines: put a name for that before it, as ('background', ...)"
        )
    asked = classes[1:] if several else classes
    missing = [name for name in asked if name not in found and name not in known]
    if missing:
        listed = ", ".join([*dict.fromkeys([*found, *known])][:8]) or "none"
        raise UserError(f"{where}: data.classes names {missing[0]!r}; there are: {listed}")
    others = {name: count for name, count in found.most_common() if name not in classes}
    notes = []
    if others:
        listed = ", ".join(f"{name} ({count})" for name, count in [*others.items()][:8])
        notes.append(
            f"{sum(others.values())} objects in {where} are background, not in data.classes: "
            + listed
        )
    return {name: label for label, name in enumerate(asked, 1)}, notes
