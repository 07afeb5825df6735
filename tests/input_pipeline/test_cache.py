"""Cache files: whole or not there, made anew where damaged, done without where impossible."""

import os
import stat

import numpy as np
import pytest

from jaxvision import cache as cache_module
from jaxvision.errors import UserError
from jaxvision.input_pipeline import resident
from jaxvision.input_pipeline.dataset import Split


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """A process that has used and noted nothing yet."""
    monkeypatch.setattr(cache_module, "_in_use", set())
    monkeypatch.setattr(cache_module, "_noted", set())


def test_cache_dir(monkeypatch, tmp_path):
    assert str(cache_module.cache_dir()) == os.environ["JAXVISION_CACHE"]
    monkeypatch.delenv("JAXVISION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_module.cache_dir() == tmp_path / "jaxvision"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_module.cache_dir() == tmp_path / ".cache" / "jaxvision"


def test_atomic_file_leaves_nothing_half_written(tmp_path):
    path = tmp_path / "new" / "a"
    with pytest.raises(KeyError), cache_module.atomic_file(path) as file:
        file.write(b"half")
        raise KeyError
    assert list(path.parent.iterdir()) == []
    with cache_module.atomic_file(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole" and len(list(path.parent.iterdir())) == 1
    os.umask(mask := os.umask(0o022))
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask  # not for its owner alone


def rows(i):
    return {"image": np.full((5, 4, 3), i, np.uint8), "label": np.int32(i)}


def split_of(calls=None, count=6):
    def read(i):
        if calls is not None:
            calls.append(i)
        return rows(i)

    return Split([str(i) for i in range(count)], read, count)


def decode(calls=None, key="key"):
    arrays = resident.decoded(split_of(calls), key)
    for i in range(6):
        np.testing.assert_array_equal(arrays["image"][i], rows(i)["image"])
    np.testing.assert_array_equal(arrays["label"], np.arange(6))
    return arrays


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"no array at all")]
)
def test_damaged_arrays_are_decoded_anew(cache_folder, capsys, damage):
    decode()
    calls = []
    decode(calls)
    assert calls == [0]  # only to learn the shapes
    damage(next((cache_folder / "decoded").glob("*_image.npy")))
    decode(calls := [])
    assert len(calls) > 6
    assert "note: a damaged cache file is made anew: " in capsys.readouterr().out
    decode(calls := [])
    assert calls == [0]


def test_damaged_json_is_discarded(cache_folder):
    path = cache_folder / "copies" / "a.json"
    assert cache_module.read_json(path) is None
    cache_module.keep_json(path, [1, 2])
    assert cache_module.read_json(path) == [1, 2]
    path.write_bytes(path.read_bytes().replace(b"2]", b"3]"))
    assert cache_module.read_json(path) is None and not path.exists()


def test_a_cache_that_cannot_be_written_costs_a_note(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXVISION_CACHE", str(tmp_path / "file" / "below"))
    decode()
    decode(key="other")
    out = capsys.readouterr().out
    assert out.count("note: nothing is cached in") == 1 and out.count("\n") == 1


def test_a_full_disk_costs_a_note(cache_folder, monkeypatch, capsys):
    def full(array, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resident, "_write_array", full)
    decode()
    assert "(no space left on device)" in capsys.readouterr().out
    assert not list((cache_folder / "decoded").iterdir())


def test_the_oldest_files_go_first_and_never_those_in_use(cache_folder, monkeypatch):
    sizes = {"old": 1, "older": 2}
    for name, age in sizes.items():
        path = cache_folder / "decoded" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(3000))
        os.utime(path, (1e9 - age, 1e9 - age))
    weights = cache_folder / "weights"
    weights.write_bytes(bytes(9000))
    monkeypatch.setenv("JAXVISION_CACHE_GIB", str(8000 / 2**30))
    cache_module.keep(cache_folder / "decoded" / "new", 3000, lambda f: f.write(bytes(3000)))
    left = {path.name for path in (cache_folder / "decoded").iterdir()}
    assert left == {"old", "new"} and weights.exists()
    monkeypatch.setenv("JAXVISION_CACHE_GIB", str(4000 / 2**30))
    cache_module.keep(cache_folder / "decoded" / "newer", 3000, lambda f: f.write(bytes(3000)))
    left = {path.name for path in (cache_folder / "decoded").iterdir()}
    assert left == {"new", "newer"}  # both are this run's


def test_what_is_larger_than_the_limit_is_not_kept(cache_folder, monkeypatch, capsys):
    monkeypatch.setenv("JAXVISION_CACHE_GIB", "0")
    decode()
    assert "JAXVISION_CACHE_GIB allows 0" in capsys.readouterr().out
    assert not (cache_folder / "decoded").exists()
    monkeypatch.setenv("JAXVISION_CACHE_GIB", "lots")
    with pytest.raises(UserError, match="JAXVISION_CACHE_GIB='lots': give a size"):
        decode()


def test_other_code_decodes_again(monkeypatch):
    decode()
    monkeypatch.setattr(cache_module, "code_version", lambda: "another")
    decode(calls := [])
    assert len(calls) > 6
