import os
import pickle
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxvision.errors import UserError
from jaxvision.input_pipeline import images
from jaxvision.input_pipeline.dataset import unit_hash
from jaxvision.input_pipeline.readers import aerial
from tests.input_pipeline.test_download import server  # noqa: F401


def config(path, image_size=16, classes=(), class_property="class"):
    data = SimpleNamespace(
        path=str(path),
        image_size=image_size,
        range=(),
        classes=classes,
        class_property=class_property,
    )
    return SimpleNamespace(data=data, seed=0, unused=1)


def pixels(seed, height=12, width=10):
    rng = np.random.default_rng(seed)
    image = rng.integers(1, 256, (height, width, 3), np.uint8)
    return image, rng.integers(0, 2, (height, width), np.uint8)


def add(root, stem, seed, size=(12, 10), extensions=(".png", ".png"), split=""):
    image, mask = pixels(seed, *size)
    for part, values, extension in zip(
        ("images", "masks"), (image, mask * 255), extensions, strict=True
    ):
        folder = root / split / part
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / f"{stem}{extension}")
    return image, mask


def fill(root, count, split="", first=0):
    for i in range(first, first + count):
        add(root, f"{i:03d}", i, split=split)
    return root


def stems(dataset):
    return {
        split: {name.split("_")[0] for name in part.names} for split, part in dataset.splits.items()
    }


def fails(path, *words):
    with pytest.raises(UserError) as raised:
        aerial.load(config(path))
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, (word, message)
    return message


def test_one_folder_is_split_by_name(tmp_path):
    dataset = aerial.load(config(fill(tmp_path, 100)))
    found = stems(dataset)
    assert set(found) == {"train", "val", "test"} and sum(map(len, found.values())) == 100
    assert 65 <= len(found["train"]) <= 95
    assert "split by name" in dataset.source and str(tmp_path) in dataset.source
    assert dataset.notes == [] and dataset.info == {"tile_size": 12}
    split = dataset.splits["train"]
    row = split.read(0)
    image, mask = pixels(int(split.names[0]))
    assert row["image"].shape == (12, 12, 3) and row["image"].dtype == np.uint8
    assert row["mask"].shape == (12, 12) and row["mask"].dtype == np.uint8
    assert (row["image"][:, :10] == image).all() and not row["image"][:, 10:].any()
    assert (row["mask"][:, :10] == mask).all() and (row["mask"][:, 10:] == 255).all()
    assert split.examples == len(split.names)


@pytest.mark.parametrize("image_size", [4, 5, 12, 13, 40])
def test_tiles_hold_every_pixel_once(tmp_path, image_size):
    sizes = {"a": (12, 10), "b": (5, 13), "c": (1, 1), "d": (8, 4)}
    truth = {}
    for seed, (stem, size) in enumerate(sizes.items()):
        truth[stem] = add(tmp_path, stem, seed, size=size, split="test")
    split = aerial.load(config(tmp_path, image_size)).splits["test"]
    side = min(image_size, 13)
    assert split.examples == 4 and len(set(split.names)) == len(split.names)
    seen = {stem: np.zeros(size, int) for stem, size in sizes.items()}
    for i, name in enumerate(split.names):
        stem, *corner = name.split("_")
        y, x = map(int, corner or (0, 0))
        height, width = sizes[stem]
        assert bool(corner) == (height > side or width > side)
        row = split.read(i)
        assert row["image"].shape == (side, side, 3) and row["mask"].shape == (side, side)
        inside = row["mask"] != aerial.IGNORE
        h, w = min(side, height - y), min(side, width - x)
        assert inside[:h, :w].all() and inside.sum() == h * w
        assert not row["image"][~inside].any()
        image, mask = truth[stem]
        assert (row["image"][:h, :w] == image[y : y + h, x : x + w]).all()
        assert (row["mask"][:h, :w] == mask[y : y + h, x : x + w]).all()
        seen[stem][y : y + h, x : x + w] += 1
    assert all((count == 1).all() for count in seen.values())


def test_any_format_and_case(tmp_path):
    for i, extension in enumerate((".png", ".JPG", ".jpeg", ".TIF", ".tiff", ".WebP")):
        add(tmp_path, f"i{i}", i, split="train", extensions=(extension, ".png"))
        add(tmp_path, f"m{i}", 10 + i, split="train", size=(64, 64), extensions=(".png", ".TIFF"))
    dataset = aerial.load(config(tmp_path))
    assert sum(split.examples for split in dataset.splits.values()) == 12


def test_val_comes_out_of_train_and_stays(tmp_path):
    fill(fill(tmp_path, 50, "train"), 5, "test", first=200)
    before = aerial.load(config(tmp_path))
    assert before.source == f"{tmp_path} (folders train, test; val = a tenth of train)"
    assert len(stems(before)["test"]) == 5 and 1 <= len(stems(before)["val"]) <= 12
    fill(tmp_path, 30, "train", first=50)
    after = aerial.load(config(tmp_path))
    assert stems(before)["val"] == {s for s in stems(after)["val"] if int(s) < 50}
    assert stems(before)["train"] < stems(after)["train"]
    assert before.fingerprint != after.fingerprint


def test_given_val_is_kept(tmp_path):
    for split, first in (("train", 0), ("val", 20), ("test", 30)):
        fill(tmp_path, 5, split, first)
    dataset = aerial.load(config(tmp_path))
    assert dataset.source == f"{tmp_path} (folders train, val, test)"
    assert stems(dataset)["val"] == {f"{i:03d}" for i in range(20, 25)}


def test_only_a_test_folder(tmp_path):
    dataset = aerial.load(config(fill(tmp_path, 3, "test")))
    assert set(dataset.splits) == {"test"} and dataset.splits["test"].examples == 3
    assert dataset.source.endswith("(folders test)")


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("first", [0, 40])
def test_few_files_fill_train_and_val(tmp_path, count, first):
    dataset = aerial.load(config(fill(tmp_path, count, first=first)))
    assert sum(split.examples for split in dataset.splits.values()) == count
    assert "train" in dataset.splits
    assert ("val" in dataset.splits) == (count > 1)
    assert stems(dataset) == stems(aerial.load(config(tmp_path)))


def test_few_train_files_give_val_but_take_no_test(tmp_path):
    fill(fill(tmp_path, 2, "train"), 3, "test", first=10)
    dataset = aerial.load(config(tmp_path))
    sizes = {split: part.examples for split, part in dataset.splits.items()}
    assert sizes == {"train": 1, "val": 1, "test": 3}
    low = min(("000", "001"), key=unit_hash)
    assert stems(dataset)["val"] == {low}


def test_duplicates_leave_train(tmp_path):
    fill(tmp_path, 6, "train")
    fill(tmp_path, 4, "val", first=10)
    fill(tmp_path, 4, "test", first=20)
    add(tmp_path, "copyval", 11, split="train", extensions=(".tif", ".png"))  # another file format
    add(tmp_path, "copytest", 21, split="train")
    add(tmp_path, "twin", 22, split="val")
    add(tmp_path, "double", 0, split="train")
    dataset = aerial.load(config(tmp_path))
    assert stems(dataset)["train"] == {f"{i:03d}" for i in range(6)} | {"double"}
    assert "twin" not in stems(dataset)["val"] and len(stems(dataset)["test"]) == 4
    assert dataset.notes == [
        "dropped 1 of 5 val images: exact copies are in test",
        "dropped 1 of 9 train images: exact copies are in val",
        "dropped 1 of 9 train images: exact copies are in test",
        "1 of 7 train images are copies inside train",
    ]


def test_fingerprint_knows_content_split_and_side_not_time(tmp_path):
    fill(tmp_path, 4, "test")
    first = aerial.load(config(tmp_path)).fingerprint
    path = tmp_path / "test" / "masks" / "002.png"
    os.utime(path, ns=(7, 7))
    assert aerial.load(config(tmp_path)).fingerprint == first
    assert aerial.load(config(tmp_path, 5)).fingerprint != first
    Image.fromarray(np.zeros((12, 10), np.uint8)).save(path)
    changed = aerial.load(config(tmp_path)).fingerprint
    assert changed != first
    (tmp_path / "test").rename(tmp_path / "val")
    assert aerial.load(config(tmp_path)).fingerprint != changed


def test_second_start_decodes_nothing(tmp_path, monkeypatch):
    fill(tmp_path, 4)
    first = aerial.load(config(tmp_path))
    monkeypatch.setattr(images, "read_picture", None)
    assert aerial.load(config(tmp_path)).fingerprint == first.fingerprint


def test_reader_is_pickled_without_pixels_and_decodes_once(tmp_path, monkeypatch):
    add(tmp_path, "a", 0, size=(64, 64), split="test")
    split = aerial.load(config(tmp_path, 16)).splits["test"]
    calls = []
    decode = images.decode_image
    monkeypatch.setattr(
        images, "decode_image", lambda path, r: calls.append(path) or decode(path, r)
    )
    rows = [split.read(i) for i in range(16)]
    assert len(calls) == 1
    stored = pickle.dumps(split.read)
    assert len(stored) < 2000
    again = pickle.loads(stored)
    assert all((again(i)["image"] == rows[i]["image"]).all() for i in range(16))
    rows[0]["image"][:] = 0  # a row is the caller's own
    assert split.read(0)["image"].any()


def test_a_file_that_changes_size_later_is_an_error(tmp_path):
    split = aerial.load(config(fill(tmp_path, 1, "test"))).splits["test"]
    add(tmp_path, "000", 0, size=(6, 6), split="test")
    with pytest.raises(UserError, match="000.png changed size since the start"):
        split.read(0)


def test_exif_turns_the_image_to_its_mask(tmp_path):
    image, mask = add(tmp_path, "a", 0, split="test")
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(np.rot90(image, -1).copy()).save(
        tmp_path / "test" / "images" / "a.png", exif=exif
    )
    row = aerial.load(config(tmp_path)).splits["test"].read(0)
    assert (row["image"][:, :10] == image).all() and (row["mask"][:, :10] == mask).all()


def test_paths_that_are_no_data(tmp_path):
    fails(tmp_path / "nowhere", "nowhere does not exist")
    (tmp_path / "a.zip").touch()
    fails(tmp_path / "a.zip", "a.zip is neither a folder nor a csv")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "nothing usable", "it has no files")
    fails(tmp_path, "nothing usable", "it has a.zip, empty")


def test_folders_that_lack_a_part(tmp_path):
    (tmp_path / "images").mkdir()
    fails(tmp_path, "has images/ but no masks/")
    (tmp_path / "masks").mkdir()
    fails(tmp_path, "images holds no images (.png")
    (tmp_path / "images").rmdir()
    fails(tmp_path, "has masks/ but no images/")
    (tmp_path / "train" / "images").mkdir(parents=True)
    fails(tmp_path, "beside train/")


def test_an_image_without_mask_fails_few_files(tmp_path):
    fill(tmp_path, 5, "train")
    (tmp_path / "train" / "masks" / "003.png").unlink()
    fails(tmp_path, "1 of 5 examples", "train/images/003.png has no mask named 003.*")


def test_sizes_that_differ(tmp_path):
    fill(tmp_path, 3)
    Image.new("1", (7, 9)).save(tmp_path / "masks" / "001.png")
    fails(tmp_path, "images/001.png: image 10 x 12 pixels, mask 7 x 9")


def test_all_kinds_of_problems_count_together(tmp_path):
    fill(tmp_path, 200)
    (tmp_path / "masks" / "003.png").unlink()
    classes = np.arange(120, dtype=np.uint8).reshape(12, 10) % 4
    Image.fromarray(classes).save(tmp_path / "masks" / "004.png")
    (tmp_path / "masks" / "stray.png").touch()
    dataset = aerial.load(config(tmp_path))
    assert sum(split.examples for split in dataset.splits.values()) == 198
    assert f"1 masks in {tmp_path / 'masks'} have no image: stray.png" in dataset.notes
    (note,) = [note for note in dataset.notes if note.startswith("skipped")]
    assert "skipped 2 of 200 examples" in note and "images/003.png has no mask" in note
    assert "masks/004.png: a mask of 4 values (0, 1, 2, 3)" in note
    whole = (tmp_path / "images" / "005.png").read_bytes()
    (tmp_path / "images" / "005.png").write_bytes(whole[:-60])
    fails(tmp_path, "3 of 200 examples", "images/005.png: damaged", "images/003.png", "remove them")


def write_csv(path, *lines, encoding="utf-8-sig"):
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def test_csv_of_paths(tmp_path):
    fill(tmp_path / "data", 3)
    rows = [f"data/images/{i:03d}.png,data/masks/{i:03d}.png" for i in range(2)]
    rows.append(f"{tmp_path}/data/images/002.png, {tmp_path}/data/masks/002.png")
    splits = ["train", "Val", "test"]
    lines = [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]
    path = write_csv(tmp_path / "a.CSV", "Image, mask, split", *lines[:1], "", *lines[1:])
    dataset = aerial.load(config(path))
    assert stems(dataset) == {"train": {"000"}, "val": {"001"}, "test": {"002"}}
    assert dataset.source == f"{path} (splits of the csv: train, val, test)"
    path = write_csv(
        tmp_path / "b.csv", "mask,id,image", "data/masks/001.png,7,data/images/001.png"
    )
    assert stems(aerial.load(config(path))) == {"train": {"001"}}


def test_csv_splits_like_the_folder(tmp_path):
    fill(tmp_path, 30)
    rows = [f"images/{i:03d}.png,masks/{i:03d}.png" for i in range(30)]
    path = write_csv(tmp_path / "a.csv", "image,mask", *rows)
    assert stems(aerial.load(config(path))) == stems(aerial.load(config(tmp_path)))


def test_csv_of_scenes_with_one_file_name(tmp_path):
    rows = []
    for i in range(30):
        image, mask = pixels(i)
        (tmp_path / f"s{i}").mkdir()
        Image.fromarray(image).save(tmp_path / f"s{i}" / "image.png")
        Image.fromarray(mask).save(tmp_path / f"s{i}" / "mask.png")
        rows.append(f"s{i}/image.png,s{i}/mask.png")
    dataset = aerial.load(config(write_csv(tmp_path / "a.csv", "image,mask", *rows)))
    names = [name for split in dataset.splits.values() for name in split.names]
    assert len(set(names)) == 30 and "image_row2" in names
    assert 15 <= dataset.splits["train"].examples <= 29


def test_csv_errors(tmp_path):
    fill(tmp_path, 2)
    path = tmp_path / "a.csv"
    write_csv(path, "picture;mask", "1;2")
    fails(path, "no columns image,mask or image_url,mask_url", "found: picture;mask")
    path.write_text("")
    fails(path, "found: nothing")
    write_csv(path, "image,mask")
    fails(path, "a header but no rows")
    write_csv(path, "image,mask,split", "images/000.png,masks/000.png,trian")
    fails(path, "row 2: split 'trian' is not train, val or test")
    write_csv(path, "image,mask", "images/000.png,masks/000.png", "images/000.png", "x.png,y.png")
    fails(path, "2 of 3 examples", "row 3: no mask is given", "row 4: x.png: no such file")
    path.write_bytes("image,mask\nü,ü".encode("utf-16"))
    fails(path, "as csv in UTF-8")


@pytest.fixture
def served(server, tmp_path, monkeypatch):  # noqa: F811
    """Serves the files of tmp_path / 'web' beside what the handler answers by itself."""
    handler = server.RequestHandlerClass

    def do_GET(self):
        file = tmp_path / "web" / self.path.lstrip("/")
        if not file.is_file():
            return handler_get(self)
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(file.read_bytes())
        return None

    handler_get = handler.do_GET
    monkeypatch.setattr(handler, "do_GET", do_GET)
    return server


def test_csv_of_addresses(served, tmp_path):
    fill(tmp_path / "web", 4)
    rows = [f"{served.url}/images/{i:03d}.png,{served.url}/masks/{i:03d}.png" for i in range(4)]
    path = write_csv(tmp_path / "a.csv", "image_url,mask_url", *rows)
    first = aerial.load(config(path))
    assert sum(split.examples for split in first.splits.values()) == 4
    assert len(served.asked) == 8
    assert aerial.load(config(path)).fingerprint == first.fingerprint
    assert len(served.asked) == 8  # once


def test_csv_rows_that_cannot_be_downloaded(served, tmp_path):
    fill(tmp_path / "web", 1)
    good = f"{served.url}/images/000.png,{served.url}/masks/000.png"
    gone = f"{served.url}/gone.png,{served.url}/masks/000.png"
    page = f"{served.url}/page.png,{served.url}/masks/000.png"  # the handler's text: no image
    path = write_csv(tmp_path / "a.csv", "image_url,mask_url", good, gone, page)
    fails(
        path,
        "2 of 3 examples",
        f"row 3: {served.url}/gone.png: not downloaded: HTTP 404 Not Found",
        f"row 4: {served.url}/page.png: not a PNG",
    )
    (tmp_path / "web" / "page.png").write_bytes(
        (tmp_path / "web" / "images" / "000.png").read_bytes()
    )
    assert "page.png" not in fails(path, "1 of 3 examples")  # fetched again, and good now


def test_csv_row_of_100_may_fail(served, tmp_path):
    fill(tmp_path, 99)
    rows = [f"images/{i:03d}.png,masks/{i:03d}.png" for i in range(99)]
    gone = f"{served.url}/gone.png,masks/000.png"
    dataset = aerial.load(config(write_csv(tmp_path / "a.csv", "image,mask", *rows, gone)))
    assert dataset.notes == [
        f"skipped 1 of 100 examples in {tmp_path / 'a.csv'}: row 101: {served.url}/gone.png: "
        "not downloaded: HTTP 404 Not Found"
    ]


def test_real_buildings(shared_data, tmp_path):
    archive = shared_data / "buildings" / "buildings.tar"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile()]
        train = [member for member in members if member.name.startswith("train/")][:24]
        test = [member for member in members if member.name.startswith("test/")][:6]
        tar.extractall(tmp_path, train + test, filter="data")
    dataset = aerial.load(config(tmp_path, 512))
    assert sum(split.examples for split in dataset.splits.values()) == 15
    assert dataset.splits["test"].examples == 3 and len(dataset.splits["test"].names) == 12
    rows = [dataset.splits["test"].read(i) for i in range(4)]  # one photo of 600 x 600
    assert sum((row["mask"] != 255).sum() for row in rows) == 600 * 600
    built = sum((row["mask"] == 1).sum() for row in rows) / 600**2
    assert 0.01 < built < 0.8
