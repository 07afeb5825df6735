"""Labelled pictures in parquet, with metadata, and of TFDS: the same data as class folders."""

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from configs import fer, ram
from jaxvision.errors import UserError
from jaxvision.input_pipeline import loader
from tests.input_pipeline.readers.test_class_folders import CLASSES, config_of, folder, picture

__all__ = ["folder"]


def load(path, reader="expressions", **fields):
    config = config_of(path, **fields)
    config.data.reader = reader
    return loader.load_dataset(config)


def content(dataset):
    """{split: sorted (label's name, pixels)}."""
    names = dataset.info["classes"]
    return {
        split: sorted(
            (names[int(row["label"])], row["image"].tobytes())
            for row in map(part.read, range(len(part.names)))
        )
        for split, part in dataset.splits.items()
    }


def refuses(path, *words, **fields):
    with pytest.raises(UserError) as raised:
        load(path, **fields)
    assert "\n" not in str(raised.value)
    for word in words:
        assert word in str(raised.value), (word, str(raised.value))


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_parquet(file, rows, names=CLASSES, image="image", label="label", feature="ClassLabel"):
    """Rows (bytes, label) as `datasets` writes them, 8 a row group."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    pictures = [{"bytes": data, "path": None} for data, _ in rows]
    table = arrow.table({image: pictures, label: [value for _, value in rows]})
    features = {image: {"_type": "Image"}, label: {"_type": feature, "names": list(names)}}
    stated = json.dumps({"info": {"features": features}}) if names else "{}"
    file.parent.mkdir(parents=True, exist_ok=True)
    table = table.replace_schema_metadata({"huggingface": stated})
    parquet.write_table(table, file, row_group_size=8)


def rows_of(split, folder):
    return [
        (png(Image.open(file)), number)
        for number, name in enumerate(CLASSES)
        for file in sorted((folder / split / name).iterdir())
    ]


def write_shards(root, folder):
    train = rows_of("train", folder)
    write_parquet(root / "data/train-00000-of-00002.parquet", train[:33])
    write_parquet(root / "data/train-00001-of-00002.parquet", train[33:])
    write_parquet(root / "data/test-00000-of-00001.parquet", rows_of("test", folder))


@pytest.mark.parametrize("reader", ["expressions", "scenes"])
def test_parquet_is_what_class_folders_are(folder, tmp_path, reader):
    write_shards(tmp_path / "hub", folder)
    dataset = load(tmp_path / "hub", reader)
    assert dataset.info["classes"] == list(CLASSES)
    assert content(dataset) == content(load(folder, reader))
    assert dataset.splits["test"].names[0] == "data/test-00000-of-00001.parquet row 0"
    stored = pickle.dumps(dataset.splits["train"].read)
    assert pickle.loads(stored)(3)["image"].shape == (12, 12, 1)
    assert len(stored) < 20_000  # no pixels


def test_parquet_of_other_forms(folder, tmp_path):
    train = rows_of("train", folder)
    file = tmp_path / "a/default/train/0000.parquet"
    write_parquet(file, [(data, CLASSES[i]) for data, i in train], names=(), image="img")
    first = load(tmp_path / "a")
    assert first.info["classes"] == list(CLASSES) and "test" not in first.splits
    assert content(load(file))["train"]  # the file alone has no split: it is split by a hash
    write_parquet(tmp_path / "b/train.parquet", train, label="emotion")
    assert content(load(tmp_path / "b")) == content(first)
    write_parquet(tmp_path / "c/train.parquet", train, label="emotion", feature="Value")
    refuses(tmp_path / "c", "no column 'label'", "image, emotion", "data.label")
    assert content(load(tmp_path / "c", label="emotion")) == content(first)


def test_parquet_that_cannot_be_used(folder, tmp_path):
    train, test = rows_of("train", folder), [(data, -1) for data, _ in rows_of("test", folder)]
    write_parquet(tmp_path / "a/train-00000-of-00003.parquet", train)
    refuses(tmp_path / "a", "2 are missing", "train-00001-of-00003.parquet")
    write_parquet(tmp_path / "b/one/train.parquet", train)
    write_parquet(tmp_path / "b/two/train.parquet", train)
    refuses(tmp_path / "b", "several data sets, one, two")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/train.parquet").write_bytes(b"no parquet")
    refuses(tmp_path / "c", "cannot be read as parquet")
    write_parquet(tmp_path / "d/train.parquet", [*train[:-1], (train[-1][0], 3)])
    refuses(tmp_path / "d", "row 59: label 3, but there are 3 classes")
    write_parquet(tmp_path / "e/train.parquet", [*train[:-1], (None, 2)])
    refuses(tmp_path / "e", "1 of 60 examples", "train.parquet row 59: the row holds no picture")
    write_parquet(tmp_path / "f/train.parquet", train)
    write_parquet(tmp_path / "f/test.parquet", test)
    dataset = load(tmp_path / "f")
    assert "test is left out: none of its 12 rows has a label" in dataset.notes
    assert set(dataset.splits) == {"train", "val"}


def test_parquet_for_glimpses(folder, tmp_path):
    write_shards(tmp_path / "hub", folder)
    datasets = []
    for path in (tmp_path / "hub", folder):
        config = ram.get_config()
        config.data.path, config.data.image_size, config.data.gray = str(path), 12, True
        datasets.append(loader.load_dataset(config))
    parts = [content(d._replace(splits={"test": d.splits["test"]})) for d in datasets]
    assert parts[0] == parts[1]


@pytest.mark.parametrize("kind", ["csv in each split", "jsonl of all"])
def test_metadata_is_what_class_folders_are(folder, tmp_path, kind):
    root = tmp_path / "flat"
    lines = []
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        own = []
        for name in CLASSES:
            for file in sorted((folder / split / name).iterdir()):
                target = root / split / f"{name}_{file.name}"
                target.write_bytes(file.read_bytes())
                own.append((target.name, name))
        if kind == "csv in each split":
            text = "file_name,label\n" + "\n".join(",".join(row) for row in own)
            (root / split / "metadata.csv").write_text(text)
        lines += [json.dumps({"file_name": f"{split}/{f}", "label": n, "x": 1}) for f, n in own]
    if kind == "jsonl of all":
        (root / "metadata.jsonl").write_text("\n".join(lines))
    picture(99).save(root / "test/stray.png")
    dataset = load(root)
    assert content(dataset) == content(load(folder))
    assert any(note.startswith("1 pictures are not in metadata.") for note in dataset.notes)


def test_metadata_that_cannot_be_used(folder, tmp_path):
    root = tmp_path / "flat"
    root.mkdir()
    for i in range(6):
        picture(i).save(root / f"{i}.png")
    file = root / "metadata.csv"
    rows = [f"{i}.png,{i % 2},x" for i in range(6)]
    file.write_text("\n".join(["file_name,mood,note", *rows]))
    refuses(root, "no column label", "data.label", "mood, note")
    refuses(root, "no column 'odd' (data.label): mood, note", label="odd")
    assert load(root, label="mood").info["classes"] == ["0", "1"]
    file.write_text("\n".join(["file_name,label", *rows, "gone.png,1"]))
    refuses(root, "gone.png: no such file")
    file.write_text("\n".join(["file_name,label", "0.png,", *rows]))
    refuses(root, "metadata.csv row 2: label '' is no class")
    file.write_text("name,label\n0.png,a")
    refuses(root, "no file_name in row 2")
    (root / "metadata.jsonl").write_text("")
    refuses(root, "several files of metadata")
    (root / "metadata.jsonl").unlink()
    (root / "train").mkdir()
    (root / "train/metadata.csv").write_text("file_name,label")
    refuses(root, "several files of metadata")
    # Captions beside class folders are no labels.
    (folder / "train/metadata.csv").write_text("file_name,caption,by\nhappy/000.png,a face,me")
    assert load(folder).info["classes"] == list(CLASSES)
    refuses(folder / "test", "data.label='mood' is a column of parquet", label="mood")


def test_tfds_for_a_classifier(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    pictures = {
        split: [picture(seed + i, (14 + i % 3, 12)) for i in range(count)]
        for split, seed, count in (("train", 0, 40), ("test", 500, 8), ("extra", 700, 2))
    }
    splits = {
        split: [(i, {"image": np.asarray(p)[..., None], "label": i % 3}) for i, p in enumerate(own)]
        for split, own in pictures.items()
    }
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 1)),
            "label": tfds.features.ClassLabel(names=list(CLASSES)),
        }
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny_faces",
        version="1.0.0",
        features=features,
        split_datasets=splits,
        data_dir=str(tmp_path / "tfds"),
        file_format="array_record",
    )
    dataset = load(tmp_path / "tfds", tfds="tiny_faces")
    assert dataset.info["classes"] == list(CLASSES)
    for split, own in pictures.items():
        for i, image in enumerate(own):
            file = tmp_path / "d" / split / CLASSES[i % 3] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)
    for place in (tmp_path / "d/extra").iterdir():
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
    (tmp_path / "d/extra").rmdir()
    assert content(dataset)["test"] == content(load(tmp_path / "d"))["test"]
    counts = {name: split.examples for name, split in dataset.splits.items()}
    assert counts == {"train": 37, "val": 3, "test": 8}
    assert "splits of tiny_faces left out: extra" in dataset.notes
    refuses(
        tmp_path / "tfds", "cannot be had", "no images with labels", tfds="tiny_faces", label="x"
    )
    refuses(tmp_path / "tfds", "data.tfds='no_such_set' cannot be had", tfds="no_such_set")


@pytest.mark.parametrize("reader", ["expressions", "scenes"])
def test_tfds_without_a_folder(reader):
    config = fer.get_config()
    config.data.reader, config.data.tfds = reader, "mnist"
    with pytest.raises(UserError, match="data.tfds='mnist' needs data.path"):
        loader.load_dataset(config)
