"""Footprints: the outlines of a mask as polygons with holes, in a GeoJSON file (RFC 7946).

Pixels of a class that touch along an edge belong to one footprint. Coordinates are
  - longitude and latitude (WGS 84, degrees), as the standard demands, where the picture is
    georeferenced;
  - else pixels: x to the right, y DOWN, from the outer corner of the top left pixel, so the first
    pixel covers (0, 0) to (1, 1). The file says so under "coordinate_system".

Properties of a footprint:
  class, fill       of several classes, the first of which is what lies between footprints: name,
                    and colour as '#rrggbb' (by simplestyle's name, which viewers know).
  area_pixels       of the mask itself, before outlines are simplified; holes are not counted.
  area_m2           of the same pixels on the ground, where the picture is georeferenced: through an
                    equal-area projection, so it also holds in degrees and in Web Mercator.
  mean_probability  over its pixels, in steps of 1/255 a pixel.
"""

import itertools
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.errors import UserError
from jaxvision.input_pipeline.windows import GDAL_OPTIONS, Georeference
from jaxvision.tasks.segmentation.labels import BUILDING, Labels

PIXELS = "pixels: x right, y down, from the outer corner of the top left pixel"
DEGREES = "WGS 84 longitude, latitude"
CHUNK = 1000  # footprints that are transformed at once


def require_geo() -> None:
    """Raises UserError where the packages that footprints need are not installed."""
    try:
        import rasterio  # noqa: F401
        import shapely  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'saving polygons needs {error.name}: pip install -e ".[geo]", or set save_polygons off'
        ) from error


def footprints(
    mask: np.ndarray,
    probability: np.ndarray,
    *,
    tolerance: float,
    min_area: float,
    georeference: Georeference | None,
    labels: Labels = BUILDING,
) -> dict[str, Any]:
    """The footprints of a mask in memory, as a GeoJSON FeatureCollection.

    Args:
      mask: bool [H, W], or uint8 numbers of classes.
      probability: float [H, W] in [0, 1].
      tolerance, min_area, georeference, labels: as of `write_footprints`.

    Raises:
      UserError: rasterio or shapely is not installed.
    """
    require_geo()
    outlines, values = _outlines(mask.astype(np.uint8), min_area)
    means = mean_probabilities(outlines, iter((probability * 255).round().astype(np.uint8)))
    features = _features(outlines, _names(values, labels), means, tolerance, georeference)
    return {**_head(georeference), "features": list(features)}


def write_footprints(
    mask: Path,
    probabilities: Iterator[np.ndarray],
    target: Path,
    *,
    tolerance: float,
    min_area: float,
    georeference: Georeference | None,
    labels: Labels = BUILDING,
) -> int:
    """Writes the footprints of a mask file as GeoJSON and returns how many there are.

    Args:
      mask: a one-band picture file; 0 is background. Read row by row.
      probabilities: its rows from the top, uint8 [width], 255 is 1.
      tolerance: an outline may move by so many pixels when it is simplified; 0 keeps every corner
        of every pixel. Neighbours are simplified one by one, so they may then overlap by as much.
      min_area: smaller footprints are left out, in square pixels.
      labels: what a pixel may be.

    Memory goes with the footprints, about 2 KB each: a mask of noise, as a model without training
    gives, has hundreds of thousands.

    Raises:
      UserError: rasterio or shapely is not installed.
    """
    require_geo()
    import rasterio

    with warnings.catch_warnings(), rasterio.Env(**GDAL_OPTIONS):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(mask.resolve()) as dataset:
            outlines, values = _outlines(rasterio.band(dataset, 1), min_area)
    means = mean_probabilities(outlines, probabilities)
    features = _features(outlines, _names(values, labels), means, tolerance, georeference)
    return write_collection({**_head(georeference), "features": features}, target)


def write_collection(collection: dict[str, Any], target: Path) -> int:
    """Writes a FeatureCollection, a line a feature; returns how many there are.

    Args:
      collection: its 'features' may be an iterator; they are written one by one.
      target: the file.
    """
    head = json.dumps({name: value for name, value in collection.items() if name != "features"})
    count = 0
    with open(target, "w", encoding="utf-8") as file:
        file.write(head[:-1] + ', "features": [')
        for feature in collection["features"]:
            file.write((",\n" if count else "\n") + json.dumps(feature))
            count += 1
        file.write("\n]}\n")
    return count


def _head(georeference: Georeference | None) -> dict[str, str]:
    system = PIXELS if georeference is None else DEGREES
    return {"type": "FeatureCollection", "coordinate_system": system}


def _names(values: list[int], labels: Labels) -> list[dict[str, str]]:
    """The properties that say of which class each footprint is, where there are several."""
    if not labels.classes:
        return [{}] * len(values)
    fills = [f"#{bytes(colour).hex()}" for colour in labels.palette]
    return [{"class": labels.classes[value], "fill": fills[value]} for value in values]


def _features(
    outlines: np.ndarray,
    names: list[dict[str, str]],
    means: np.ndarray,
    tolerance: float,
    georeference: Georeference | None,
) -> Iterator[dict[str, Any]]:
    """GeoJSON features of exact outlines, their names and their mean probabilities."""
    import shapely

    for start in range(0, len(outlines), CHUNK):
        exact = outlines[start : start + CHUNK]
        simple = _simplified(exact, tolerance)
        properties = {"area_pixels": shapely.area(exact).astype(int).tolist()}
        if georeference is None:
            geometries = [shapely.geometry.mapping(polygon) for polygon in simple]
        else:
            properties["area_m2"] = _square_metres(exact, georeference)
            geometries = _on_earth(simple, georeference)
        properties["mean_probability"] = means[start : start + CHUNK].round(4).tolist()
        for i, geometry in enumerate(geometries):
            measured = {name: column[i] for name, column in properties.items()}
            values = {**names[start + i], **measured}
            yield {"type": "Feature", "properties": values, "geometry": geometry}


def _outlines(mask: Any, min_area: float) -> tuple[np.ndarray, list[int]]:
    """Exact outlines in pixels, and the value inside each.

    They are an object array of shapely polygons, exteriors counterclockwise where y is taken to go
    up.

    Args:
      mask: uint8 [H, W] or a rasterio band; 0 is background.
      min_area: square pixels.
    """
    import rasterio.features
    import shapely
    import shapely.geometry

    polygons = (
        (shapely.geometry.shape(geometry), int(value))
        for geometry, value in rasterio.features.shapes(mask, mask=mask, connectivity=4)
    )
    kept = [(polygon, value) for polygon, value in polygons if polygon.area >= min_area]
    outlines = np.array([polygon for polygon, _ in kept], dtype=object)
    return shapely.orient_polygons(outlines), [value for _, value in kept]


def mean_probabilities(outlines: np.ndarray, probabilities: Iterator[np.ndarray]) -> np.ndarray:
    """Mean probability inside exact pixel outlines, float [N] in [0, 1]; rows are read once.

    By Green's theorem on pixels: with S(y, x) the sum of all pixels above row y and left of column
    x, the sum inside an outline is that of S(y, end) - S(y, start) over its horizontal edges. So
    one running sum a column is enough, whatever the shapes, and integers keep it exact.

    Args:
      outlines: [N] polygons with corners at whole pixels, exteriors counterclockwise, holes
        clockwise, where y is taken to go up.
      probabilities: uint8 [width] a row.
    """
    import shapely

    rings, owner = shapely.get_rings(outlines, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    x, y = corners.astype(np.int64).T
    edges = np.flatnonzero((ring[1:] == ring[:-1]) & (y[1:] == y[:-1]))
    edges = edges[np.argsort(y[edges], kind="stable")]
    starts, ends, owners, rows = x[edges], x[edges + 1], owner[ring[edges]], y[edges]
    sums = np.zeros(len(outlines), np.int64)
    above = 0  # [width]: the sum of each column above row y
    for number, row in enumerate(itertools.chain([None], probabilities)):
        if row is not None:
            above = above + row.astype(np.int64)
        here = slice(*np.searchsorted(rows, [number, number + 1]))
        if number and here.start < here.stop:
            prefix = np.concatenate([[0], np.cumsum(above)])
            np.add.at(sums, owners[here], prefix[starts[here]] - prefix[ends[here]])
    return sums / (255 * shapely.area(outlines))


def _simplified(polygons: np.ndarray, tolerance: float) -> np.ndarray:
    import shapely

    simple = shapely.simplify(polygons, tolerance, preserve_topology=True)
    # Preserving topology is a promise about holes and rings; where it fails, keep every corner.
    return np.where(shapely.is_valid(simple) & ~shapely.is_empty(simple), simple, polygons)


def _on_earth(polygons: np.ndarray, georeference: Georeference) -> list[dict[str, Any]]:
    """GeoJSON geometries in degrees; a footprint across the antimeridian becomes two parts."""
    import rasterio.warp
    import shapely
    import shapely.geometry

    placed = shapely.transform(polygons, georeference.place)
    placed = shapely.orient_polygons(placed)  # exteriors counterclockwise again: y now goes up
    return rasterio.warp.transform_geom(
        georeference.crs,
        "EPSG:4326",
        [shapely.geometry.mapping(polygon) for polygon in placed],
        precision=9,  # .1 mm
    )


def _square_metres(polygons: np.ndarray, georeference: Georeference) -> list[float]:
    """Ground area: each footprint's pixels times the area of a pixel at its centre."""
    import rasterio.warp
    import shapely

    centre = shapely.get_coordinates(shapely.centroid(polygons))  # [N, 2]
    corners = centre[None] + np.array([[[0, 0]], [[1, 0]], [[0, 1]]])  # [3, N, 2]
    x, y = georeference.place(corners).reshape(-1, 2).T
    # EPSG:6933, an equal-area cylindrical projection of the WGS 84 ellipsoid.
    metres = rasterio.warp.transform(georeference.crs, "EPSG:6933", x, y)
    origin, right, down = np.array(metres).T.reshape(3, -1, 2)
    (a, b), (c, d) = (right - origin).T, (down - origin).T
    return (np.abs(a * d - b * c) * shapely.area(polygons)).round(3).tolist()
