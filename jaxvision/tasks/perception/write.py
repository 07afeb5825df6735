"""`--mode=predict` of scores: a csv, GeoJSON and maps of all photos that were given."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxvision.input_pipeline import images
from jaxvision.input_pipeline.readers.perception.files import parse_name
from jaxvision.input_pipeline.score_scale import Scale
from jaxvision.tasks.perception import places
from jaxvision.tasks.perception.report import calibrate


def decode(scale: Scale, outputs: Any, image: Any, fitted: dict[str, float]) -> dict[str, Any]:
    """One photo's {'scores': {attribute: value}, 'uncertainty': {attribute: deviation}}."""
    del image
    score, spread = calibrate(
        scale, np.asarray(outputs["score"]), np.asarray(outputs["spread"]), fitted
    )
    return {
        "scores": {name: float(v) for name, v in zip(scale.attributes, score, strict=True)},
        "uncertainty": {name: float(v) for name, v in zip(scale.attributes, spread, strict=True)},
    }


def predict_file(
    scale: Scale,
    size: int,
    predict: Callable[..., Any],
    path: Path,
    output: Path,
    fitted: dict[str, float],
) -> dict[str, Any]:
    """Scores one photo: {'file', 'scores', 'uncertainty'[, 'latitude', 'longitude']}.

    Args:
      scale: of the scores.
      size: side of the square that the network was trained on, pixels.
      predict, path, output, fitted: as of `Task.predict_file`; `collect` writes the files.

    Raises:
      UserError: the photo cannot be read.
    """
    del output
    image = images.decode_square(path, size)
    outputs = {name: value[0] for name, value in predict(image[None]).items()}
    record = {"file": path.name, **decode(scale, outputs, image, fitted)}
    latitude, longitude = parse_name(path.stem)[1]
    if np.isfinite(latitude):
        record |= {"latitude": latitude, "longitude": longitude}
    return record


def collect(scale: Scale, options: ConfigDict, records: list[dict[str, Any]], output: Path) -> None:
    """Writes scores.csv; where photos are named lat_lon_id_city, also scores.geojson and maps."""
    with open(output / "scores.csv", "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        names = scale.attributes
        lines.writerow(["file", *names, *(f"{name}_uncertainty" for name in names)])
        for record in records:
            values = [*record["scores"].values(), *record["uncertainty"].values()]
            lines.writerow([record["file"], *(f"{value:.4f}" for value in values)])
    placed = [record for record in records if "latitude" in record]
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
