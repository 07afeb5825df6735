"""Walking a folder: splits, extensions, links, order, and what is left out."""

import os

import pytest

from jaxvision.errors import UserError
from jaxvision.input_pipeline import folders


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(paths):
    return [path.name for path in paths]


def test_what_lies_in_a_folder(tmp_path):
    touch(tmp_path, "a10.JPG", "a2.jpg", "b.Gif", "c.bmp", "d.jfif", "e.TIFF", "f.webp", "g.jpeg")
    touch(tmp_path, "notes.txt", "x.heic", "._a2.jpg", ".DS_Store", "Thumbs.db", "__MACOSX/a.png")
    touch(tmp_path, "folder.png/a.png", ".hidden/a.png")
    level = folders.read_folder(tmp_path)
    assert names(level.pictures) == [
        "a2.jpg", "a10.JPG", "b.Gif", "c.bmp", "d.jfif", "e.TIFF", "f.webp", "g.jpeg",
    ]  # fmt: skip
    assert names(level.folders) == ["folder.png"]
    assert names(level.others) == ["notes.txt", "x.heic"]


def test_links_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path, "z/1.png", "elsewhere.png")
    os.symlink(tmp_path / "z", tmp_path / "a")  # in name before what it leads to
    os.symlink(tmp_path, tmp_path / "z" / "up")
    os.symlink("self", tmp_path / "self")
    os.symlink("nowhere.png", tmp_path / "gone.png")
    os.symlink("elsewhere.png", tmp_path / "link.png")
    seen = set()
    level = folders.read_folder(tmp_path, seen)
    assert names(level.folders) == ["z"]
    assert names(level.pictures) == ["elsewhere.png", "link.png"]
    assert names(level.others) == ["a", "gone.png", "self"]
    assert names(folders.read_folder(tmp_path / "z", seen).others) == ["up"]
    (note,) = folders.left_out(level.others, tmp_path)
    assert note == "3 files left out: a, gone.png, self"


def test_splits_by_any_of_their_names(tmp_path):
    for name in ("Testing", "TRAIN", "valid", "other"):
        touch(tmp_path, f"{name}/a.png")
    found = folders.split_folders(folders.read_folder(tmp_path))
    assert [(path.name, split) for path, split in found.items()] == [
        ("TRAIN", "train"), ("valid", "val"), ("Testing", "test"),
    ]  # fmt: skip
    assert folders.split_of(tmp_path / "x" / "Valid" / "a.png", tmp_path) == "val"
    assert folders.split_of(tmp_path / "train.png", tmp_path) == ""
    touch(tmp_path, "val/a.png")
    with pytest.raises(UserError, match="holds val/ and valid/, which are both val: merge"):
        folders.split_folders(folders.read_folder(tmp_path))


def test_what_is_left_out_is_counted_and_named(tmp_path):
    touch(tmp_path, *(f"{i}.txt" for i in range(7)), "more/a.png", "more/below/b.png", "more/._c")
    level = folders.read_folder(tmp_path)
    assert folders.left_out([], tmp_path) == []
    assert folders.left_out(level.others[:2] + level.folders, tmp_path) == [
        "4 files left out: 0.txt, 1.txt, more/ (2)"
    ]
    assert folders.left_out(level.others, tmp_path)[0].endswith("3.txt, 4.txt, ...")


def test_two_pictures_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "a.png", "a.tif")
    with pytest.raises(UserError, match="both a.png and a.tif"):
        folders.by_stem(folders.read_folder(tmp_path).pictures)


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot read the folder .*nowhere: no such file"):
        folders.read_folder(tmp_path / "nowhere")
