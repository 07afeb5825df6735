"""Footprints: outlines, holes, simplification, places on Earth and probabilities."""

import json

import numpy as np
import pytest
import rasterio
import rasterio.features
import rasterio.warp
import shapely
from PIL import Image
from rasterio.transform import from_origin

from jaxvision.input_pipeline.windows import Georeference
from jaxvision.tasks.segmentation import footprints
from tests.tasks.segmentation.streaming import brightness, stream_file


def write(folder, mask, probability=None, **changes):
    """The GeoJSON of a bool mask [H, W]."""
    path, target = folder / "mask.png", folder / "out.geojson"
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    probability = mask.astype(np.uint8) * 255 if probability is None else probability
    options = dict(tolerance=0, min_area=0, georeference=None) | changes
    count = footprints.write_footprints(path, iter(probability), target, **options)
    collection = json.loads(target.read_text())
    assert count == len(collection["features"])
    in_memory = footprints.footprints(mask, probability / 255, **options)
    assert json.loads(json.dumps(in_memory)) == collection
    return collection


def polygons(collection):
    return [shapely.geometry.shape(f["geometry"]) for f in collection["features"]]


def test_holes_and_corners(tmp_path):
    mask = np.zeros((20, 30), bool)
    mask[2:12, 5:25] = True
    mask[4:7, 8:18] = False
    mask[12, 25] = True  # touches only at a corner: another footprint
    collection = write(tmp_path, mask)
    assert collection["coordinate_system"].startswith("pixels: x right, y down")
    large, small = sorted(polygons(collection), key=lambda p: -p.area)
    assert large.equals(shapely.box(5, 2, 25, 12) - shapely.box(8, 4, 18, 7))
    assert small.equals(shapely.box(25, 12, 26, 13))
    assert {f["properties"]["area_pixels"] for f in collection["features"]} == {170, 1}


def test_empty_and_full(tmp_path):
    assert write(tmp_path, np.zeros((5, 7), bool))["features"] == []
    (full,) = polygons(write(tmp_path, np.ones((5, 7), bool)))
    assert full.equals(shapely.box(0, 0, 7, 5))


def test_small_ones_are_left_out(tmp_path):
    mask = np.zeros((20, 20), bool)
    mask[0, :4], mask[5, :5], mask[10:15, :5] = True, True, True
    collection = write(tmp_path, mask, min_area=5)
    assert [f["properties"]["area_pixels"] for f in collection["features"]] == [5, 25]


def test_simplified_within_tolerance(tmp_path):
    y, x = np.mgrid[:100, :100]
    mask = np.abs(x - 50) + np.abs(y - 50) < 40  # a diamond: its sides are stairs
    (exact,), (simple,) = (polygons(write(tmp_path, mask, tolerance=t)) for t in (0, 1.0))
    assert len(exact.exterior.coords) > 150 and len(simple.exterior.coords) < 12
    assert simple.is_valid and simple.hausdorff_distance(exact) <= 1.0
    assert exact.area == mask.sum()


def test_mean_probability(tmp_path):
    rng = np.random.default_rng(0)
    for size in ((1, 1), (23, 31), (40, 17)):
        mask = rng.random(size) < 0.6
        probability = rng.integers(0, 256, size, dtype=np.uint8)
        for feature in write(tmp_path, mask, probability)["features"]:
            inside = rasterio.features.rasterize([feature["geometry"]], out_shape=size) > 0
            properties = feature["properties"]
            assert inside.sum() == properties["area_pixels"]
            mean = probability[inside].mean() / 255
            assert properties["mean_probability"] == pytest.approx(mean, abs=6e-5)


def segment(folder, **raster):
    """GeoJSON of a white 40 x 30 building, 60 right of and 20 below the corner of a GeoTIFF."""
    image = np.zeros((3, 90, 130), np.uint8)
    image[:, 20:50, 60:100] = 255
    (folder / "photos").mkdir()
    path = folder / "photos" / "in.tif"
    kind = dict(driver="GTiff", count=3, height=90, width=130, dtype="uint8")
    with rasterio.open(path, "w", **kind, **raster) as file:
        file.write(image)
    record = stream_file(brightness, path, folder / "masks", tile=64, overlap=16, polygons=True)
    assert record["footprints"] == 1
    return json.loads((folder / "masks" / "in.geojson").read_text())


def utm(longitude, latitude, meridian):
    """(east, north) in metres, north of the equator: Krueger's series to n^3, good to 1 mm."""
    third, radius = 1 / (2 * 298.257223563 - 1), 6378137.0
    scale = 0.9996 * radius / (1 + third) * (1 + third**2 / 4 + third**4 / 64)
    series = (
        third / 2 - 2 / 3 * third**2 + 5 / 16 * third**3,
        13 / 48 * third**2 - 3 / 5 * third**3,
        61 / 240 * third**3,
    )
    phi, away = np.radians(latitude), np.radians(longitude - meridian)
    e = 2 * np.sqrt(third) / (1 + third)
    t = np.sinh(np.arctanh(np.sin(phi)) - e * np.arctanh(e * np.sin(phi)))
    xi, eta = np.arctan2(t, np.cos(away)), np.arctanh(np.sin(away) / np.sqrt(1 + t * t))
    north, east = xi, eta
    for j, alpha in enumerate(series, 1):
        north = north + alpha * np.sin(2 * j * xi) * np.cosh(2 * j * eta)
        east = east + alpha * np.cos(2 * j * xi) * np.sinh(2 * j * eta)
    return 500_000 + scale * east, scale * north


def test_utm_to_degrees(tmp_path):
    place = dict(crs="EPSG:32633", transform=from_origin(601_000, 5_340_000, 0.5, 0.5))
    collection = segment(tmp_path, **place)  # half a metre a pixel, Vienna
    assert collection["coordinate_system"] == "WGS 84 longitude, latitude"
    (polygon,), (feature,) = polygons(collection), collection["features"]
    assert polygon.exterior.is_ccw
    east, north = utm(*np.array(polygon.exterior.coords).T, meridian=15)
    placed = shapely.Polygon(np.stack([east, north], axis=1))
    expected = shapely.box(601_030, 5_339_975, 601_050, 5_339_990)
    assert placed.hausdorff_distance(expected) < 0.01  # metres; 1e-6 degrees are 0.1
    assert feature["properties"]["area_pixels"] == 1200
    # 300 square metres of grid; UTM's scale is within .1 % of one.
    assert feature["properties"]["area_m2"] == pytest.approx(300, rel=2e-3)


def test_ground_area_in_web_mercator(tmp_path):
    """Lengths there are stretched by 1 / cos(latitude)."""
    place = dict(crs="EPSG:3857", transform=from_origin(1_800_000, 8_399_737, 1.0, 1.0))
    (feature,) = segment(tmp_path, **place)["features"]
    latitude = np.array(feature["geometry"]["coordinates"][0])[:, 1].mean()
    assert latitude == pytest.approx(60, abs=0.01)
    ground = 1200 * np.cos(np.radians(latitude)) ** 2
    assert feature["properties"]["area_m2"] == pytest.approx(ground, rel=5e-3)


def test_south_and_degrees(tmp_path):
    place = dict(crs="EPSG:4326", transform=from_origin(18.4, -33.9, 1e-5, 1e-5))
    collection = segment(tmp_path, **place)
    (polygon,) = polygons(collection)
    west, south, east, north = polygon.bounds
    np.testing.assert_allclose(
        [west, south, east, north], [18.4006, -33.9005, 18.401, -33.9002], atol=1e-9
    )
    metres = 111_320**2 * 4e-4 * 3e-4 * np.cos(np.radians(33.9))
    area = collection["features"][0]["properties"]["area_m2"]
    assert area == pytest.approx(metres, rel=1e-2)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_grid_without_a_place_stays_in_pixels(tmp_path):
    local = 'LOCAL_CS["site grid",UNIT["metre",1]]'
    collection = segment(tmp_path, crs=local, transform=from_origin(0, 100, 0.5, 0.5))
    assert collection["coordinate_system"].startswith("pixels")
    assert polygons(collection)[0].equals(shapely.box(60, 20, 100, 50))
    assert "area_m2" not in collection["features"][0]["properties"]


def test_across_the_antimeridian(tmp_path):
    mask = np.ones((10, 10), bool)
    place = Georeference(rasterio.CRS.from_epsg(4326), from_origin(179.9995, 10, 1e-4, 1e-4))
    (polygon,) = polygons(write(tmp_path, mask, georeference=place))
    assert polygon.area == pytest.approx(1e-6, rel=1e-3)
