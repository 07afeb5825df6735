"""`--mode=predict` of scores: a csv, GeoJSON and maps of all photos that were given."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.place_names import parse_name
from jaxvision.input_pipeline.score_scale import Scale
from jaxvision.task import Prediction
from jaxvision.tasks.perception import places


def write(
    options: ConfigDict,
    render: Callable[..., np.ndarray],
    photo: np.ndarray,
    prediction: Prediction,
    path: Path,
    output: Path,
) -> dict[str, Any]:
    """Writes <stem>_scores.jpg, the photo beside its scores, where `predict.pictures` is set.

    Args:
      options: `config.predict`.
      render: (photo, prediction) -> uint8 [H, W, 3].
      photo, prediction, path, output: as of `Predictor.write`.

    Returns:
      what belongs into the record: 'latitude' and 'longitude' where the name tells them, and
      'picture', the path of what was written.

    Raises:
      UserError: the output folder cannot be written.
    """
    entries = {}
    latitude, longitude = parse_name(Path(path).stem)[1]
    if np.isfinite(latitude):
        entries |= {"latitude": latitude, "longitude": longitude}
    if options.pictures:
        target = Path(output) / f"{Path(path).stem}_scores.jpg"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(render(photo, prediction)).save(target, quality=90)
        except OSError as error:
            raise UserError(f"cannot write {target} ({error.strerror or error})") from error
        entries["picture"] = str(target)
    return entries


def collect(scale: Scale, options: ConfigDict, records: list[dict[str, Any]], output: Path) -> None:
    """Writes scores.csv; where photos are named lat_lon_id_city, also scores.geojson and maps.

    Args:
      scale: of the scores.
      options: `config.predict`.
      records: 'file', a name or a path, 'scores' and 'uncertainty' of each photo.
      output: the folder.
    """
    records = [{**record, "file": Path(record["file"]).name} for record in records]
    with open(output / "scores.csv", "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        names = scale.attributes
        lines.writerow(["file", *names, *(f"{name}_uncertainty" for name in names)])
        for record in records:
            values = [*record["scores"].values(), *record["uncertainty"].values()]
            lines.writerow([record["file"], *(f"{value:.4f}" for value in values)])
    placed = []
    for record in records:
        latitude, longitude = parse_name(Path(record["file"]).stem)[1]
        if np.isfinite(latitude):
            placed.append({**record, "latitude": latitude, "longitude": longitude})
    if not placed:
        return
    if options.geojson:
        (output / "scores.geojson").write_text(json.dumps(geojson(placed)), encoding="utf-8")
    where = np.array([[record["latitude"], record["longitude"]] for record in placed])
    scores = np.array([list(record["scores"].values()) for record in placed])
    Image.fromarray(places.draw_map(where, scores, scale.attributes)).save(output / "map.png")
    files = [record["file"] for record in placed]
    page = places.map_page(files, where, scores, scale.attributes, options.map_tiles)
    (output / "map.html").write_text(page, encoding="utf-8")


def geojson(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Points with their scores, in degrees, longitude first (RFC 7946)."""
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Point",
                "coordinates": [record["longitude"], record["latitude"]],
            },
            "properties": {
                "file": record["file"],
                **record["scores"],
                **{f"{k}_uncertainty": v for k, v in record["uncertainty"].items()},
            },
        }
        for record in records
    ]
    return {"type": "FeatureCollection", "features": features}
