"""What a row holds: the numbers of predictions.jsonl, in columns of each task."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from jaxvision.batching import apply_in_batches
from tests.batch_inference.pictures import FER, encoded, folder_of, rows

pytest.importorskip("onnxruntime")


def both(call, folder, model, *options):
    """(rows, records of predictions.jsonl) of a folder of pictures."""
    asked = ("--mode=predict", f"--workdir=zoo/{model}", f"--input={folder}", "--engine=onnx")
    many, files = folder.parent / "many", folder.parent / "files"
    for output, kind in ((many, "parquet"), (files, "files")):
        code, _, err = call(*asked, f"--output={output}", f"--format={kind}", *options)
        assert code == 0, err
    lines = (files / "predictions.jsonl").read_text().splitlines()
    records = {json.loads(line)["file"].split("/")[-1]: json.loads(line) for line in lines}
    found = rows(many)
    assert found.keys() == records.keys()
    return [(found[name], records[name]) for name in found]


def test_expressions(call, tmp_path):
    folder = folder_of(tmp_path / "in", 2)
    (folder / "wall.png").write_bytes(encoded(7, size=(400, 300)))  # large, and no face in it
    for row, record in both(call, folder, "fer"):
        assert (row["width"], row["height"]) == (record["width"], record["height"])
        assert len(row["faces"]) == len(record["faces"])
        if not record["faces"]:
            assert row["label"] is None and row["probability_happy"] is None
            assert row["error"] is None
            continue
        (face,), (there,) = record["faces"], row["faces"]
        assert row["label"] == there["label"] == face["label"]
        assert row["probability"] == face["probabilities"][face["label"]]
        assert there["width"] == 48 and there["left"] == 0 and there["score"] is None
        for name, value in face["probabilities"].items():
            assert row[f"probability_{name}"] == there[f"probability_{name}"] == value


def test_the_largest_of_several_faces_is_the_row_s():
    from jaxvision.task import Prediction
    from jaxvision.tasks.classification import table

    def face(left, side, happy):
        named = {"happy": happy, "sad": 1 - happy}
        label = "happy" if happy > 0.5 else "sad"
        box = [left, 0, side, side]
        return {"box": box, "score": 0.9, "label": label, "probabilities": named}

    record = {"width": 90, "height": 50, "faces": [face(0, 10, 0.1), face(30, 40, 0.8)]}
    row = table.row(Prediction(record, {}), None)
    assert (row["label"], row["probability_happy"]) == ("happy", 0.8)
    assert [found["left"] for found in row["faces"]] == [0, 30]


def test_streets(call, tmp_path):
    for row, record in both(call, folder_of(tmp_path / "in", 2, size=(280, 210)), "streets"):
        for name, score in record["scores"].items():
            assert row[name] == pytest.approx(score, rel=1e-4)
            assert row[f"{name}_uncertainty"] == pytest.approx(
                record["uncertainty"][name], rel=1e-4
            )


def test_points(call, tmp_path):
    for row, record in both(call, folder_of(tmp_path / "in", 2, size=(50, 50)), "rodent"):
        for name, (x, y, confidence) in record["points"].items():
            got = [row[f"{name}_{what}"] for what in ("x", "y", "confidence")]
            assert got == pytest.approx([x, y, confidence], abs=1e-3)
        degrees = [value for name, value in row.items() if name.endswith("_degrees")]
        assert degrees == pytest.approx(record["degrees"], abs=0.1) and degrees


def test_footprints(call, tmp_path):
    folder = folder_of(tmp_path / "in", 1, size=(150, 100))
    ((row, record),) = both(call, folder, "buildings", "--config.predict.polygons=True")
    assert row["building_share"] == pytest.approx(record["building_share"], abs=1e-3)
    stored = np.asarray(Image.open(io.BytesIO(row["mask"])))
    assert stored.shape == (100, 150) and stored.mean() == pytest.approx(row["building_share"])
    assert (stored == (np.asarray(Image.open(record["mask"])) > 0)).mean() > 0.99
    collection = json.loads(row["geojson"])
    assert len(collection["features"]) == row["footprints"] == record["footprints"]


def test_digits(call, tmp_path):
    options = ("--config.predict.film=",)
    ((row, record),) = both(call, folder_of(tmp_path / "in", 1, size=(28, 28)), "digits", *options)
    assert row["label"] == record["label"]
    assert row["probability"] == pytest.approx(max(record["probabilities"].values()), abs=1e-3)
    assert len(row["glimpses"]) == len(record["glimpses"]) == len(row["locations"])


def test_a_picture_without_an_answer_has_a_row_with_the_reason(call, tmp_path):
    folder = folder_of(tmp_path / "in", 3)
    (folder / "1.png").write_bytes(encoded(1)[:200])
    table = 'path\nin/0.png\nin/1.png\nin/gone.png\n""\ns3://a/b.png\nin\nin/2.png\n'
    (tmp_path / "list.csv").write_text(table)
    asked = ("--mode=predict", FER, "--engine=onnx", f"--input={tmp_path / 'list.csv'}")
    asked += (f"--output={tmp_path / 'out'}", "--shard_rows=3")
    code, out, err = call(*asked)
    failures = tmp_path / "out" / "failures.csv"
    assert code == 2 and len(err) == 1, err
    assert f"5 of 7 pictures could not be predicted: see {failures}" in err[0]
    found = rows(tmp_path / "out")
    assert [name for name, row in found.items() if not row["error"]] == ["in/0.png", "in/2.png"]
    reasons = {name: row["error"] for name, row in found.items() if row["error"]}
    assert "damaged" in reasons["in/1.png"] and reasons["in/gone.png"] == "no such file"
    assert reasons["row 4"] == "no path or address in its row"
    assert reasons["in"] == "no such file" and "s3:// is not read" in reasons["s3://a/b.png"]
    assert found["in/1.png"]["label"] is None
    lines = failures.read_text().splitlines()
    assert lines[0] == "id,error,shard" and len(lines) == 6 and lines[-1].endswith(",1")
    # A finished folder is not gone through again, and still says what failed.
    before = [path.stat().st_mtime_ns for path in (tmp_path / "out/predictions").iterdir()]
    assert call(*asked)[0] == 2
    assert before == [path.stat().st_mtime_ns for path in (tmp_path / "out/predictions").iterdir()]


def test_numbers_do_not_depend_on_how_many_pictures_there_are(call, tmp_path):
    """On one program: another size of batch rounds differently."""
    few, more = folder_of(tmp_path / "few", 1), folder_of(tmp_path / "more", 8)
    found = []
    for folder in (few, more):
        output = tmp_path / f"{folder.name}-out"
        where = (f"--input={folder}", f"--output={output}")
        assert call("--mode=predict", "--workdir=zoo/streets", "--format=parquet", *where)[0] == 0
        found.append(rows(output))
    assert found[0]["0.png"] == found[1]["0.png"]


def test_whole_batches_have_one_size():
    sizes = []

    def predict(inputs):
        sizes.append(len(inputs))
        return {"y": inputs[:, 0]}

    pictures = ((i, np.full((1, 2), i, np.uint8)) for i in range(11))
    answers = list(apply_in_batches(predict, pictures, batch_size=8, whole=True))
    assert sizes == [8, 8]
    assert [int(outputs["y"][0]) for _, outputs in answers] == list(range(11))


def test_a_system_that_names_no_columns_has_its_record_as_json():
    from jaxvision.batch_inference import schema
    from jaxvision.task import Prediction, Predictor

    def nothing(*arguments):
        return None

    plain = Predictor(nothing, nothing, nothing, nothing, nothing, ())
    assert schema.results(plain.columns).names == ["id", "record", "error"]
    row = plain.row(Prediction({"colour": [1.5, 2.0]}, {}), None)
    assert json.loads(row["record"]) == {"colour": [1.5, 2.0]}
