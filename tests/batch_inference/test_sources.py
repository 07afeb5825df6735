"""What may be named as input, and how it is listed."""

import collections
import csv
import http.server
import os
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxvision.batch_inference import tars
from jaxvision.batch_inference.sources import open_source, tree
from tests.batch_inference.pictures import FER, encoded, folder_of, rows, tar_of

COUNT = 5


@pytest.fixture
def server(tmp_path):
    """The address of tmp_path over HTTP; /busy/... answers 503 once, then as without it."""
    refused = set()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def do_GET(self):
            if self.path.startswith("/busy/"):
                self.path = self.path.removeprefix("/busy")
                if self.path not in refused:
                    refused.add(self.path)
                    return self.send_error(503)
            return super().do_GET()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_same_pictures_get_the_same_rows_from_every_source(call, tmp_path, server):
    photos = folder_of(tmp_path / "photos", COUNT)
    names = [f"{i}.png" for i in range(COUNT)]
    with open(tmp_path / "paths.csv", "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["label", "path", "id"])
        lines.writerows(["?", f"photos/{name}", f"no {name}"] for name in names)
    addresses = [f"{server}/{'busy/' * (i == 3)}photos/{i}.png" for i in range(COUNT)]
    pq.write_table(pa.table({"url": addresses}), tmp_path / "addresses.parquet")
    for part, some in enumerate((names[:2], names[2:])):
        members = {name: (photos / name).read_bytes() for name in some}
        members |= {name.replace("png", "json"): b"{}" for name in some}
        tar_of(tmp_path / "tars" / f"{part:03d}.tar", members)
    sources = {
        "photos": names,
        "paths.csv": [f"no {name}" for name in names],
        "addresses.parquet": addresses,
        "tars/{000..001}.tar": [f"00{int(i > 1)}.tar/{i}.png" for i in range(COUNT)],
    }
    found = []
    for number, (source, ids) in enumerate(sources.items()):
        output = tmp_path / f"out{number}"
        options = (f"--input={tmp_path / source}", f"--output={output}", "--format=parquet")
        code, out, err = call("--mode=predict", FER, *options, "--shard_rows=2")
        assert code == 0, err
        got = rows(output)
        assert list(got) == ids, source
        found.append(list(got.values()))
        assert len(list((output / "predictions").iterdir())) == 3
    assert found[0] == found[1] == found[2] == found[3]
    assert len({row["probability_sad"] for row in found[0]}) == COUNT  # no two are alike
    assert "left out" in out and "5 .json" in out


def test_a_tree_is_walked_in_order_without_what_is_hidden_linked_or_ours(tmp_path):
    root = tmp_path / "root"
    for name in ("img_10.png", "img_2.PNG", "b/c/x.jpg", "a/y.jpg", ".hidden/z.jpg", "notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"?")
    os.symlink(root, root / "a" / "loop")
    os.symlink("nowhere", root / "broken.png")
    odd = os.fsdecode(b"a/caf\xe9.png")  # no UTF-8
    (root / odd).write_bytes(b"?")
    folder_of(root / "results", 2)
    left_out = collections.Counter()
    entries = list(tree(root, left_out, root / "results"))
    ids = [entry.id for entry in entries]
    assert ids == ["img_2.PNG", "img_10.png", "a/caf\\xe9.png", "a/y.jpg", "b/c/x.jpg"]
    assert all((root / os.fsdecode(entry.path)).read_bytes() == b"?" for entry in entries)
    assert left_out == {".txt": 1, ".png": 1}


def test_a_large_folder_is_listed_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxvision.batch_inference.sources.SORTED", 3)
    folder_of(tmp_path / "root", 10)
    ids = [entry.id for entry in tree(tmp_path / "root", collections.Counter(), tmp_path / "out")]
    assert sorted(ids) == sorted(f"{i}.png" for i in range(10))


def test_patterns():
    assert tars.expand("a/{08..10}.tar") == ["a/08.tar", "a/09.tar", "a/10.tar"]
    assert tars.expand("{1..2}/{0..1}.tar") == ["1/0.tar", "1/1.tar", "2/0.tar", "2/1.tar"]


def test_a_damaged_tar_gives_what_came_before_the_damage(tmp_path):
    data = {f"{i}.png": encoded(i) for i in range(3)}
    whole = tar_of(tmp_path / "0.tar", data).read_bytes()
    third = whole.index(b"2.png")
    for name, content in (("cut", whole[:third]), ("short", whole[: third + 600])):
        (tmp_path / f"{name}.tar").write_bytes(content)
    broken = bytearray(whole)
    broken[third + 150] ^= 255  # in the header's checksum
    (tmp_path / "broken.tar").write_bytes(broken)

    def listed(name):
        source = open_source(str(tmp_path / name), tmp_path / "out")
        return list(source.entries(collections.Counter()))

    assert [entry.id for entry in listed("cut.tar")] == ["cut.tar/0.png", "cut.tar/1.png"]
    for name in ("short.tar", "broken.tar"):
        ok = [entry.id for entry in listed(name) if not entry.problem]
        assert ok[:2] == [f"{name}/0.png", f"{name}/1.png"], name
        assert "damaged" in listed(name)[-1].problem


LISTS = {
    "empty.csv": (b"path\n", "holds no picture"),
    "other.csv": (b"a,b\n1,2\n", "has no column of paths or addresses, only 'a', 'b'"),
    "blank.csv": (b"", "has no column of paths"),
    "latin.csv": ("path\nä.png\n".encode("latin-1"), "is no table in UTF-8"),
    "text.parquet": (b"hello", "cannot be read as parquet"),
    "text.tar": (b"hello" * 300, "cannot be read as a tar file"),
    "small.tar.gz": (b"", "give .tar files"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_cannot_be_used_is_one_line(call, tmp_path, name):
    content, words = LISTS[name]
    (tmp_path / name).write_bytes(content)
    told(call(*predict(tmp_path / name, tmp_path / "out")), words)


INPUTS = [
    ("{tmp}/nothing", ("--format=parquet",), "does not exist"),
    ("", ("--format=parquet",), "needs --input"),
    ("{tmp}/no.csv", (), "does not exist"),
    ("{tmp}/{0..3}.tar", (), "0.tar does not exist"),
    ("{tmp}/*.tar", (), "no such file"),
    ("{tmp}/photos", ("--format=parquet", "--output={tmp}/photos"), "is the folder of --input"),
    ("{tmp}/photos/0.png", ("--format=parquet",), "give its folder"),
    ("{tmp}/photos", ("--format=files", "--engine=ray"), "--engine=ray writes parquet files"),
    ("{tmp}/a.csv", ("--format=files",), "is predicted into parquet files"),
    ("{tmp}/tars", ("--format=parquet",), "holds no picture; for what is in its tar files"),
    ("{tmp}/photos", ("--format=parquet", "--shard_rows=-1"), "shard_rows"),
    ("{tmp}/photos", ("--format=parquet", "--output={tmp}/photos/0.png"), "cannot write"),
]


@pytest.mark.parametrize(("source", "options", "words"), INPUTS)
def test_input_that_cannot_be_used_is_one_line(call, tmp_path, source, options, words):
    folder_of(tmp_path / "photos", 1)
    tar_of(tmp_path / "tars" / "0.tar", {"a.png": encoded(0)})
    options = [option.replace("{tmp}", str(tmp_path)) for option in options]
    source = source.replace("{tmp}", str(tmp_path))
    told(call(*predict(source, tmp_path / "out"), *options), words)


def predict(source, output):
    return "--mode=predict", FER, "--engine=onnx", f"--input={source}", f"--output={output}"


def told(result, words):
    code, _, lines = result
    assert code == 2 and len(lines) == 1 and words in lines[0], lines


def test_other_modes_do_not_take_a_cluster(call, tmp_path):
    options = ("--engine=ray", "--config.data.path=/nowhere", f"--output={tmp_path}")
    told(call("--mode=evaluate", FER, *options), "--engine=ray spreads --mode=predict")
