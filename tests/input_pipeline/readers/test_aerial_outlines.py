"""COCO annotations and GeoJSON footprints give the masks that a mask file would."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline.readers import aerial
from jaxvision.input_pipeline.readers.aerial import pairs
from jaxvision.input_pipeline.readers.aerial.outlines import Drawing, Outline, as_ring, draw
from tests.input_pipeline.readers.test_aerial import config, fails, stems

SIDE = 16
SQUARE = [[2, 3], [9, 3], [9, 8], [2, 8]]
HOLE = [[4, 4], [6, 4], [6, 6], [4, 6]]


def flat(points):
    return [float(value) for point in points for value in point]


def expected(hole=False):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[3:8, 2:9] = 1
    if hole:
        mask[4:6, 4:6] = 0
    return mask


def picture(path, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


def annotation(segmentation, image=1, category=1, **more):
    own = {"id": 7, "image_id": image, "category_id": category, "segmentation": segmentation}
    return {**own, **more}


def write_coco(path, annotations, files=("a.png",), categories=("building",), **size):
    size = {"height": SIDE, "width": SIDE, **size}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [{"id": i, "file_name": name, **size} for i, name in enumerate(files, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content))


def feature(rings, kind="Polygon", **properties):
    geometry = {"type": kind, "coordinates": rings}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def write_geojson(path, features, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))


def mask_of(root, split="train", row=0, **options):
    dataset = aerial.load(config(root, **options))
    return dataset.splits[split].read(row)["mask"], dataset.notes


def test_a_pixel_is_drawn_where_its_centre_lies_inside():
    features = pytest.importorskip("rasterio.features")
    rng = np.random.default_rng(0)
    for _ in range(100):
        angles, away = np.sort(rng.uniform(0, 2 * np.pi, 9)), rng.uniform(1, 12, (9, 1))
        star = 8 + away * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        inner = 8 + (star - 8) / 3
        outline = Outline(1, (as_ring(star), as_ring(inner)))
        geometry = {"type": "Polygon", "coordinates": [[*star, star[0]], [*inner, inner[0]]]}
        truth = features.rasterize([geometry], (SIDE, SIDE), dtype="uint8")
        np.testing.assert_array_equal(draw(Drawing(SIDE, SIDE, (outline,))).mask, truth)


@pytest.mark.parametrize("compressed", [False, True])
def test_coco_polygons_runs_and_crowds(tmp_path, compressed):
    root = tmp_path / "d"
    for i, name in enumerate(("a", "b", "c", "d")):
        picture(root / f"train/{name}.png", i)
    holed = expected(hole=True)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], holed.T.ravel(), [0]])))
    runs = np.diff([0, *changes, holed.size]).tolist()
    runs = {"size": [SIDE, SIDE], "counts": text_of(runs) if compressed else runs}
    annotations = [
        annotation([flat(SQUARE[:2] + [[9, 5], [2, 5]]), flat([[2, 5], [9, 5], [9, 8], [2, 8]])]),
        annotation(runs, image=2),
        annotation(runs, image=3, iscrowd=1),
        annotation([flat([[2, 3], [3, 3], [3, 8], [2, 8]])], image=3),
    ]
    files = ("a.png", "b.png", "c.png", "d.png")
    write_coco(root / "train/_annotations.coco.json", annotations, files)
    dataset = aerial.load(config(root))
    masks = {
        name: split.read(i)["mask"]
        for split in dataset.splits.values()
        for i, name in enumerate(split.names)
    }
    np.testing.assert_array_equal(masks["a"], expected())
    np.testing.assert_array_equal(masks["b"], holed)
    crowd = np.where(holed == 1, aerial.IGNORE, 0)
    crowd[3:8, 2] = 1  # what was told apart of it
    np.testing.assert_array_equal(masks["c"], crowd)
    notes = "\n".join(dataset.notes)
    assert "1 of 4 masks are empty, no object in them: d.png in _annotations.coco.json" in notes
    assert "1 crowds in _annotations.coco.json: their pixels do not count" in notes


def text_of(runs):
    """pycocotools' text of runs (rleToString)."""
    text = ""
    for i, run in enumerate(runs):
        value, more = run - (runs[i - 2] if i > 2 else 0), True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


def test_coco_text_of_pycocotools(tmp_path):
    truth = np.zeros((40, 50), np.uint8)
    truth[3:30, 5:40] = truth[0, 0] = 1
    truth[10:12, 8:30] = 0
    # What pycocotools 2.0.11 makes of this mask.
    text = "01Z6j0SJ0000" + "\\OE;" + ";EE;" * 21 + ";9" + "0" * 18 + "]<"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images/a.png")
    own = [annotation({"size": [40, 50], "counts": text})]
    write_coco(tmp_path / "a.json", own, height=40, width=50)
    dataset = aerial.load(config(tmp_path, image_size=64))
    np.testing.assert_array_equal(dataset.splits["train"].read(0)["mask"][:40], truth)


@pytest.mark.parametrize("layout", ["published", "beside", "the file itself"])
def test_coco_layouts(tmp_path, layout):
    root = path = tmp_path / "d"
    if layout == "published":
        for i, split in enumerate(("train", "val")):
            picture(root / f"{split}2017/a{i}.png", i)
            file = root / f"annotations/instances_{split}2017.json"
            write_coco(file, [annotation([flat(SQUARE)])], [f"a{i}.png"])
        (root / "annotations/captions_train2017.json").write_text("{}")
        assert stems(aerial.load(config(path))) == {"train": {"a0"}, "val": {"a1"}}
        return
    picture(root / "images/a.png")
    picture(root / "images/stray.png", 1)
    write_coco(root / "labels.json", [annotation([flat(SQUARE)])])
    path = root / "labels.json" if layout == "the file itself" else root
    mask, notes = mask_of(path)
    np.testing.assert_array_equal(mask, expected())
    assert "1 pictures are not in labels.json: stray.png" in notes


def test_coco_categories_must_be_chosen(tmp_path):
    picture(tmp_path / "images/a.png")
    kinds = [annotation([flat(SQUARE)]), annotation([flat(HOLE)], category=2)]
    write_coco(tmp_path / "a.json", kinds, categories=("building", "tree", "road"))
    fails(tmp_path, "2 kinds of objects, building (1), tree (1)", "--config.data.classes=")
    mask, notes = mask_of(tmp_path, classes=("tree",))
    assert mask.sum() == 4
    assert "1 objects in" in notes[0] and "background" in notes[0] and "building (1)" in notes[0]
    with pytest.raises(UserError, match="data.classes names 'car'; there are: building, tree"):
        aerial.load(config(tmp_path, classes=("car",)))


def test_coco_that_cannot_be_used(tmp_path):
    picture(tmp_path / "images/a.png")
    file = tmp_path / "a.json"
    file.write_text("{")
    fails(tmp_path, "a.json cannot be read as json")
    file.write_text("[1]")
    fails(tmp_path, "holds neither COCO annotations")
    file.write_text('{"images": [{"id": 1}], "annotations": []}')
    fails(tmp_path, "no COCO annotations (KeyError: 'categories')")
    write_coco(file, [annotation([], bbox=[1, 2, 3, 4])])
    fails(tmp_path, "annotation 7: no segmentation (a box alone says no outline)")
    write_coco(file, [annotation([[1, 2, 3]])])
    fails(tmp_path, "a polygon that is no list x1, y1")
    write_coco(file, [annotation([flat(np.array(SQUARE) / SIDE)])])
    fails(tmp_path, "all coordinates lie between 0 and 1")
    write_coco(file, [annotation([flat(SQUARE)])], height=SIDE + 1)
    fails(tmp_path, "image 16 x 16 pixels, mask 16 x 17")
    write_coco(file, [annotation({"size": [SIDE, SIDE], "counts": [5, 5]})])
    fails(tmp_path, "runs that are not of 16 x 16 pixels")
    write_coco(file, [annotation([flat(SQUARE)], category=9)])
    fails(tmp_path, "category_id 9 is none of its categories")
    write_coco(file, [annotation([flat(SQUARE)])], ["gone.png"])
    fails(tmp_path, "gone.png in a.json: not in")
    write_coco(file, [], height="tall")
    fails(tmp_path, "its height and width are 'tall' and 16")
    write_coco(tmp_path / "b.json", [])
    fails(tmp_path, "holds a.json, b.json: leave one")


def test_coco_polygons_in_polygons_are_told(tmp_path):
    picture(tmp_path / "images/a.png")
    write_coco(tmp_path / "a.json", [annotation([flat(SQUARE), flat(HOLE)])])
    mask, notes = mask_of(tmp_path)
    np.testing.assert_array_equal(mask, expected())
    assert "1 polygons in a.json lie inside another one of their object" in "\n".join(notes)


def test_geojson_in_pixels(tmp_path):
    picture(tmp_path / "train/images/a.png")
    features = [
        feature([SQUARE, HOLE]),
        feature(
            [[[[12, 12], [14, 12], [14, 14]]], [[[0, 0], [1, 0], [1, 1], [0, 1]]]], "MultiPolygon"
        ),
        feature([1, 2], "Point"),
        {"type": "Feature", "properties": None, "geometry": None},
    ]
    write_geojson(tmp_path / "train/masks/a.geojson", features)
    mask, notes = mask_of(tmp_path)
    truth = expected(hole=True)
    truth[0, 0] = truth[12, 13] = 1
    truth[12, 12], truth[13, 13] = mask[12, 12], mask[13, 13]  # centres on the diagonal
    np.testing.assert_array_equal(mask, truth)
    assert "2 features of a.geojson are no polygons: 1 Point, 1 no geometry" in notes
    write_geojson(tmp_path / "train/masks/a.geojson", [feature([[[1, -2], [5, -2], [5, -9]]])])
    fails(tmp_path, "a.geojson: its outlines lie above the picture")
    write_geojson(tmp_path / "train/masks/a.geojson", [feature([[[1, 2], ["x", 3]]])])
    fails(tmp_path, "feature 1 cannot be used")
    write_geojson(tmp_path / "train/masks/a.geojson", None)
    fails(tmp_path, "a FeatureCollection without a list of features")
    write_geojson(tmp_path / "train/masks/a.geojson", [], crs={"type": "name"})
    fails(tmp_path, "its crs has no name")
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    write_geojson(tmp_path / "train/masks/a.geojson", [feature([SQUARE])], crs=crs)
    fails(tmp_path, "EPSG:32632, but the picture has no georeference")


def test_geojson_of_a_turned_picture_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    picture(tmp_path / "train/images/a.png", exif=exif)
    write_geojson(tmp_path / "train/masks/a.geojson", [feature([SQUARE])])
    fails(tmp_path, "EXIF orientation 8, and GeoJSON does not tell", "save the picture upright")


def test_objects_of_two_classes_leave_their_common_pixels_out():
    square, hole = as_ring(np.array(SQUARE)), as_ring(np.array(HOLE))
    both = Outline(1, (square,)), Outline(2, (hole,))
    for outlines in (both, both[::-1]):
        drawn = draw(Drawing(SIDE, SIDE, outlines))
        assert drawn.disputed == 4 and (drawn.mask == aerial.IGNORE).sum() == 4


def test_a_class_of_mask_files_is_refused(tmp_path):
    picture(tmp_path / "train/images/a.png")
    (tmp_path / "train/masks").mkdir()
    Image.fromarray(expected()).save(tmp_path / "train/masks/a.png")
    with pytest.raises(UserError, match="data.classes=.'building',. is for COCO and GeoJSON"):
        aerial.load(config(tmp_path, classes=("building",)))


@pytest.fixture
def georeferenced(tmp_path):
    """Two pictures of 10 m a pixel beside each other in UTM 32 N, and (picture, x, y) -> metres."""
    rasterio = pytest.importorskip("rasterio")
    (tmp_path / "images").mkdir()
    for i in range(2):
        transform = rasterio.Affine(10, 0, 500_000 + 10 * SIDE * i, 0, -10, 5_000_000)
        pixels = np.random.default_rng(i).integers(0, 256, (3, SIDE, SIDE), np.uint8)
        file = tmp_path / f"images/{i}.tif"
        shape = {"height": SIDE, "width": SIDE, "count": 3, "dtype": "uint8"}
        with rasterio.open(file, "w", crs="EPSG:32632", transform=transform, **shape) as dataset:
            dataset.write(pixels)
    return tmp_path


def on_earth(points, picture=0):
    return [[500_000 + 10 * (x + SIDE * picture), 5_000_000 - 10 * y] for x, y in points]


@pytest.mark.parametrize("system", ["degrees", "crs", "the pictures'"])
def test_geojson_of_all_pictures_on_the_earth(georeferenced, system):
    import rasterio.warp

    rings, more = [on_earth(SQUARE), on_earth(HOLE)], {}
    over_both = [on_earth([[10, 10], [SIDE + 4, 10], [SIDE + 4, 12], [10, 12]])]
    if system == "degrees":
        geometry = [{"type": "Polygon", "coordinates": r} for r in (rings, over_both)]
        degrees = rasterio.warp.transform_geom("EPSG:32632", "EPSG:4326", geometry)
        rings, over_both = (g["coordinates"] for g in degrees)
    elif system == "crs":
        more = {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}}
    features = [feature(rings), feature(over_both)]
    write_geojson(georeferenced / "footprints.geojson", features, **more)
    dataset = aerial.load(config(georeferenced))
    masks = {s.names[0]: s.read(0)["mask"] for s in dataset.splits.values()}
    first, second = expected(hole=True), np.zeros((SIDE, SIDE), np.uint8)
    first[10:12, 10:] = second[10:12, :4] = 1
    np.testing.assert_array_equal(masks["0"], first)
    np.testing.assert_array_equal(masks["1"], second)


def test_geojson_that_lies_elsewhere(georeferenced):
    write_geojson(georeferenced / "a.geojson", [feature([SQUARE])])
    fails(georeferenced, "none of its 1 footprints lies on any of the 2 pictures")
    crs = {"type": "name", "properties": {"name": "EPSG:no"}}
    write_geojson(georeferenced / "a.geojson", [feature([SQUARE])], crs=crs)
    fails(georeferenced, "crs 'EPSG:no' is not known")
    (georeferenced / "a.geojson").unlink()
    for i in range(2):
        write_geojson(georeferenced / f"masks/{i}.geojson", [feature([SQUARE])])
    fails(
        georeferenced, "none of its outlines lies on the picture", '"coordinate_system": "pixels"'
    )
    for i in range(2):
        file = georeferenced / f"masks/{i}.geojson"
        write_geojson(file, [feature([SQUARE])], coordinate_system="pixels: x right, y down")
    assert mask_of(georeferenced)[0].sum() == expected().sum()


def test_geojson_classes(tmp_path):
    picture(tmp_path / "train/images/a.png")
    file = tmp_path / "train/masks/a.geojson"
    write_geojson(file, [feature([SQUARE], kind_of="house"), feature([HOLE], kind_of="pond")])
    assert mask_of(tmp_path)[0].sum() == expected().sum()
    mask, notes = mask_of(tmp_path, classes=("pond",), class_property="kind_of")
    assert mask.sum() == 4 and "house (1)" in notes[0]
    with pytest.raises(UserError, match="feature 1 cannot be used .no property 'class'"):
        aerial.load(config(tmp_path, classes=("pond",)))


def test_second_start_draws_nothing(tmp_path, monkeypatch):
    picture(tmp_path / "images/a.png")
    write_coco(tmp_path / "a.json", [annotation([flat(SQUARE)])])
    first = aerial.load(config(tmp_path)).fingerprint
    monkeypatch.setattr(pairs, "draw", None)
    assert aerial.load(config(tmp_path)).fingerprint == first


def test_the_outlines_decide_the_fingerprint(tmp_path):
    picture(tmp_path / "images/a.png")
    write_coco(tmp_path / "a.json", [annotation([flat(SQUARE)])])
    first = aerial.load(config(tmp_path)).fingerprint
    write_coco(tmp_path / "a.json", [annotation([flat(HOLE)])])
    assert aerial.load(config(tmp_path)).fingerprint != first
