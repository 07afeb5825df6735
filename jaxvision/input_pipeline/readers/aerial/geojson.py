"""GeoJSON footprints (RFC 7946): polygons with holes, on pictures or on the earth.

Where the coordinates are, in this order:
  1. "coordinate_system" begins with "pixels", as `predict` writes it: pixels, x right, y down.
  2. "crs" names a reference system, as GIS programs write it: that one.
  3. the picture has no georeference: pixels.
  4. all are possible degrees: longitude and latitude (WGS 84), as the standard demands.
  5. else: the picture's own reference system.
All but the first need rasterio, which tells whether a picture has a georeference.
"""

import collections
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline.readers.aerial.labels import label_classes
from jaxvision.input_pipeline.readers.aerial.outlines import Drawing, Outline, as_ring
from jaxvision.input_pipeline.windows import Georeference, read_georeference

PIXELS, DEGREES = "pixels", "OGC:CRS84"


class Footprints(NamedTuple):
    """The polygons of a file.

    Attributes:
      path: of it.
      labels: mask value of each polygon.
      rings: of each polygon, float64 [n, 2] in the file's coordinates; the first is its outside.
      system: PIXELS, a reference system that the file names, or ''.
      notes: what was left out.
    """

    path: Path
    labels: list[int]
    rings: list[list[np.ndarray]]
    system: str
    notes: list[str]


def is_geojson(content: Any) -> bool:
    """Whether a json file's content is meant as GeoJSON features."""
    return isinstance(content, dict) and content.get("type") in ("FeatureCollection", "Feature")


def load_json(path: Path) -> Any:
    """The content of a json file.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read as json: {reason}") from error


def read(content: Any, path: Path, classes: Sequence[str], class_property: str) -> Footprints:
    """The polygons of a file.

    Args:
      content: of it.
      path: of it, for messages.
      classes: `data.classes`.
      class_property: `data.class_property`, which is looked at where there are `classes`.

    Raises:
      UserError: it holds no features, or one of them cannot be understood.
    """
    if not is_geojson(content):
        raise UserError(f"{path} is no GeoJSON: its type is no FeatureCollection")
    features = content.get("features") if content["type"] == "FeatureCollection" else [content]
    if not isinstance(features, list):
        raise UserError(f"{path}: a FeatureCollection without a list of features")
    polygons, names, others = [], [], collections.Counter()
    for number, feature in enumerate(features, 1):
        try:
            geometry = feature["geometry"] or {"type": "no geometry"}
            own = _polygons(geometry)
            if own is None:
                others[geometry["type"]] += 1
                continue
            polygons += own
            names += [_name(feature, class_property) if classes else ""] * len(own)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(f"{path}: feature {number} cannot be used ({error})") from error
    found = collections.Counter(names)
    labels, notes = label_classes(classes, found, classes, path.name)
    if others:
        listed = ", ".join(f"{count} {kind}" for kind, count in others.most_common())
        notes.append(f"{others.total()} features of {path.name} are no polygons: {listed}")
    kept = [
        (labels[name], rings) for name, rings in zip(names, polygons, strict=True) if name in labels
    ]
    return Footprints(
        path,
        [label for label, _ in kept],
        [rings for _, rings in kept],
        _system(content, path),
        notes,
    )


def _polygons(geometry: dict) -> list[list[np.ndarray]] | None:
    """Rings of each polygon, [n, 2]; None for a geometry of another kind."""
    if geometry["type"] not in ("Polygon", "MultiPolygon"):
        return None
    coordinates = geometry["coordinates"]
    parts = [coordinates] if geometry["type"] == "Polygon" else coordinates
    polygons = [[_ring(ring) for ring in rings] for rings in parts]
    return [rings for rings in polygons if rings]


def _ring(points: Any) -> np.ndarray:
    ring = np.array([point[:2] for point in points], np.float64)  # a height may follow
    as_ring(ring)
    return ring


def _name(feature: dict, class_property: str) -> str:
    value = (feature.get("properties") or {}).get(class_property)
    if value is None:
        raise ValueError(
            f"no property {class_property!r}: name the one that says what it is with "
            "data.class_property"
        )
    return str(value)


def _system(content: dict, path: Path) -> str:
    if str(content.get("coordinate_system", "")).lower().startswith(PIXELS):
        return PIXELS
    crs = content.get("crs")  # of GeoJSON before RFC 7946
    try:
        return str(crs["properties"]["name"]) if crs else ""
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: its crs has no name: {str(crs)[:80]}") from error


def drawing_of(footprints: Footprints, picture: Path) -> Drawing:
    """A picture's own file as its drawing.

    Raises:
      UserError: how its coordinates lie on the picture is not known, or none lies on it.
    """
    try:
        if footprints.system == PIXELS or not (georeference := _georeference(picture)):
            if footprints.system not in (PIXELS, ""):
                raise ValueError(f"{footprints.system}, but the picture has no georeference")
            outlines = _on_pixels(footprints)
        else:
            placed = placed_in(footprints, georeference.crs)
            outlines = on_picture(placed, georeference, _size(picture))
            if footprints.rings and not outlines:
                x, y = footprints.rings[0][0][0]
                raise ValueError(
                    f"none of its outlines lies on the picture (the first begins at {x:g}, {y:g}); "
                    'where they are in pixels let it say "coordinate_system": "pixels"'
                )
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{footprints.path.name}: {error}") from error
    return Drawing(0, 0, outlines)


def _on_pixels(footprints: Footprints) -> tuple[Outline, ...]:
    corners = [ring for rings in footprints.rings for ring in rings]
    if corners and max(ring[:, 1].max() for ring in corners) <= 0:
        raise ValueError("its outlines lie above the picture: y must run down from its top edge")
    return tuple(
        Outline(label, tuple(as_ring(ring) for ring in rings))
        for label, rings in zip(footprints.labels, footprints.rings, strict=True)
    )


def _georeference(picture: Path) -> Georeference | None:
    try:
        import rasterio  # noqa: F401
    except ImportError as error:
        raise UserError('reading GeoJSON needs rasterio: pip install -e ".[geo]"') from error
    return read_georeference(picture)


def _size(picture: Path) -> tuple[int, int]:
    import rasterio

    with rasterio.open(picture.resolve()) as dataset:
        return dataset.height, dataset.width


class Placed(NamedTuple):
    """Footprints in a reference system, and the boxes of their outsides, float64 [N, 2]."""

    labels: list[int]
    rings: list[list[np.ndarray]]
    low: np.ndarray
    high: np.ndarray


def placed_in(footprints: Footprints, crs: Any) -> Placed:
    """Footprints on the earth, in a reference system of rasterio's.

    Raises:
      ValueError: the file's reference system is not known.
    """
    import rasterio.warp

    if not footprints.rings:
        return Placed([], [], np.zeros((0, 2)), np.zeros((0, 2)))
    counts = [len(ring) for rings in footprints.rings for ring in rings]
    points = np.concatenate([ring for rings in footprints.rings for ring in rings])
    system = footprints.system
    if not system and (np.abs(points) <= (180, 90)).all():
        system = DEGREES
    if system:
        try:
            points = np.stack(rasterio.warp.transform(system, crs, *points.T), axis=1)
        except Exception as error:  # rasterio lets GDAL's own errors through
            raise ValueError(f"crs {system!r} is not known: {error}") from error
    flat = iter(np.split(points, np.cumsum(counts)[:-1]))
    rings = [[next(flat) for _ in own] for own in footprints.rings]
    low, high = (np.stack([edge(own[0], axis=0) for own in rings]) for edge in (np.min, np.max))
    return Placed(footprints.labels, rings, low, high)


def on_picture(
    placed: Placed, georeference: Georeference, size: tuple[int, int]
) -> tuple[Outline, ...]:
    """The footprints that lie on a picture of a (height, width), in its pixels."""
    height, width = size
    corners = georeference.place(np.array([[0, 0], [width, 0], [0, height], [width, height]]))
    near = (placed.high > corners.min(0)) & (placed.low < corners.max(0))  # [N, 2]
    a, b, c, d, e, f = (~georeference.transform)[:6]
    outlines = []
    for i in np.flatnonzero(near.all(1)):
        rings = [ring @ np.array([[a, d], [b, e]]) + np.array([c, f]) for ring in placed.rings[i]]
        outlines.append(Outline(placed.labels[i], tuple(as_ring(ring) for ring in rings)))
    return tuple(outlines)


def draw_all(footprints: Footprints, pictures: Sequence[Path]) -> list[Drawing]:
    """One file's footprints on each of many pictures.

    Raises:
      UserError: a picture is not georeferenced, or no footprint lies on any.
    """
    drawings, systems = [], {}
    for picture in pictures:
        georeference = None if footprints.system == PIXELS else _georeference(picture)
        if georeference is None:
            raise UserError(
                f"{footprints.path} is of {len(pictures)} pictures, and {picture.name} has no "
                "georeference: give each a file of its own, masks/<name>.geojson"
            )
        key = georeference.crs.to_wkt()
        try:
            systems[key] = systems.get(key) or placed_in(footprints, georeference.crs)
            outlines = on_picture(systems[key], georeference, _size(picture))
        except ValueError as error:
            raise UserError(f"{footprints.path}: {error}") from error
        drawings.append(Drawing(0, 0, outlines))
    if footprints.rings and not any(drawing.outlines for drawing in drawings):
        raise UserError(
            f"{footprints.path}: none of its {len(footprints.rings)} footprints lies on any of the "
            f"{len(pictures)} pictures; does its crs fit theirs?"
        )
    return drawings
