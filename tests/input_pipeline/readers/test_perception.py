"""Readers of street photos: what is found, how it is split, and what is said of bad input."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from configs import perception as perception_config
from jaxvision import rank_votes
from jaxvision.errors import UserError
from jaxvision.input_pipeline import images, loader
from jaxvision.input_pipeline.readers import perception
from jaxvision.input_pipeline.readers.perception import files as perception_files
from jaxvision.input_pipeline.readers.perception import votes
from jaxvision.input_pipeline.synthetic import perception as synthetic

SAFE, WEALTHY = "50a68a51fdc9f05596000002", "50f62cb7a84ea7c5fdd2e458"
NAMES, STREETS, _ = synthetic.make_streets(0, 40)
SCORES = synthetic.make_scores(STREETS)


def make_config(path, **data):
    config = perception_config.get_config()
    config.data.path, config.data.image_size = str(path), 32
    for name, value in data.items():
        config.data[name] = value
    return config


def save_photo(path, i, size=(48, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(i).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def place_pulse(root, count=40, column="trueskill.score"):
    """A copy of Place Pulse's files: two studies, the second for half of the photos."""
    lines = [f"location_id\tstudy_id\t{column}"]
    for i, name in enumerate(NAMES[:count]):
        save_photo(root / "images" / f"{name}.JPG", i)
        lines.append(f"{i:05d}\t{SAFE}\t{SCORES[i, 0]}")
        if i % 2:
            lines.append(f"{i:05d}\t{WEALTHY}\t{SCORES[i, 3]}")
    (root / "qscores.tsv").write_text("\n".join(lines))
    return root


def own_csv(root, rows, header="file,safe,lively"):
    for i in range(30):
        save_photo(root / f"p{i}.jpg", i)
    (root / "scores.csv").write_text("\n".join([header, *rows]))
    return root


def plain_rows(count=30):
    return [f"p{i}.jpg,{i},{i * 7 % 11}" for i in range(count)]


def write_votes(path, table, attributes=("safe", "wealthy")):
    lines = ["left,right,study_id,voter_uniqueid,choice,place_name_left,place_name_right"]
    lines += [f"{a},{b},{attributes[q]},v,{c},X,Y" for a, b, q, c in table]
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("column", ["trueskill.score", "trueskill_score"])
def test_place_pulse_names_scores_and_places(tmp_path, column):
    dataset = perception.load(make_config(place_pulse(tmp_path, column=column)))
    assert dataset.info["attributes"] == ["safe", "wealthy"]
    assert sum(split.examples for split in dataset.splits.values()) == 40
    split = dataset.splits["train"]
    row = split.read(3)
    i = int(split.names[3])
    assert row["image"].shape == (32, 32, 3) and row["image"].dtype == np.uint8
    assert row["score"][0] == pytest.approx(SCORES[i, 0], rel=1e-5)
    assert np.isnan(row["score"][1]) == (i % 2 == 0)
    assert row["place"] == pytest.approx([float(v) for v in NAMES[i].split("_")[:2]], abs=1e-4)


def test_a_name_of_another_form_is_the_id():
    assert perception_files.parse_name("street_12_3")[0] == "street_12_3"
    identifier, place, city = perception_files.parse_name("-23.5_-46.6_abc_Sao Paulo")
    assert (identifier, place, city) == ("abc", (-23.5, -46.6), "Sao Paulo")


def test_fractions_hold_and_no_photo_is_in_two_splits(tmp_path):
    photos = [perception_files.Photo(f"p{i}", "", "", "", (0, 0), "", ()) for i in range(4000)]
    options = make_config(tmp_path).data
    splits, _ = perception.assign_splits(photos, options)
    shares = [len(splits[s]) / 4000 for s in ("train", "val", "test")]
    assert shares == pytest.approx([0.65, 0.05, 0.3], abs=0.025)
    assert sorted(i for numbers in splits.values() for i in numbers) == list(range(4000))


def test_folds_cover_every_photo_once(tmp_path):
    photos = [perception_files.Photo(f"p{i}", "", "", "", (0, 0), "", ()) for i in range(300)]
    tested = []
    for fold in range(5):
        splits, _ = perception.assign_splits(photos, make_config(tmp_path, folds=5, fold=fold).data)
        assert not set(splits["train"]) & set(splits["test"]) and splits["val"]
        tested += splits["test"]
    assert sorted(tested) == list(range(300))


def test_whole_cities_are_held_out(tmp_path):
    place_pulse(tmp_path)
    dataset = perception.load(make_config(tmp_path, split="city", test_cities=("Corva",)))
    cities = {
        name: {NAMES[int(i)].split("_")[3] for i in split.names}
        for name, split in dataset.splits.items()
    }
    assert cities["test"] == {"Corva"}
    assert not cities["train"] & cities["val"] and "Corva" not in cities["train"] | cities["val"]
    with pytest.raises(UserError, match="no photo is from Atlantis"):
        perception.load(make_config(tmp_path, split="city", test_cities=("Atlantis",)))


def test_own_csv_missing_cells_and_chosen_attributes(tmp_path):
    rows = plain_rows()
    rows[4] = "p4,,3"  # by name without extension
    dataset = perception.load(make_config(own_csv(tmp_path, rows), attributes=("lively",)))
    assert dataset.info["attributes"] == ["lively"]
    dataset = perception.load(make_config(tmp_path / "scores.csv"))
    split, row = next((s, s.names.index("p4")) for s in dataset.splits.values() if "p4" in s.names)
    assert np.isnan(split.read(row)["score"][0]) and split.read(row)["score"][1] == 3
    with pytest.raises(UserError, match="there is no pretty; the data has safe, lively"):
        perception.load(make_config(tmp_path, attributes=("pretty",)))


def test_given_splits_are_kept(tmp_path):
    rows = [f"{row},{('train', 'val', 'test')[i % 3]}" for i, row in enumerate(plain_rows())]
    dataset = perception.load(make_config(own_csv(tmp_path, rows, "file,safe,lively,split")))
    assert dataset.splits["val"].names == [f"p{i}" for i in range(1, 30, 3)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*plain_rows(), "gone.jpg,1,1"], "1 of 31 examples .* gone.jpg: scores.csv scores it"),
        ([*plain_rows(), "p3.jpg,9,9"], "2 scores differ from an earlier .* row 32 gives p3.jpg 9"),
        ([f"p{i}.jpg,5,{i}" for i in range(30)], r"1 of 2 attributes have one score .* safe \(all"),
        ([*plain_rows(29), "p29.jpg,nice,1"], "row 31, safe: 'nice' is no number"),
        ([f"p{i}.jpg,,{i}" for i in range(30)], "safe: none of the .* training photos has a score"),
    ],
)
def test_bad_scores_are_one_clear_line(tmp_path, rows, message):
    with pytest.raises(UserError, match=message) as caught:
        perception.load(make_config(own_csv(tmp_path, rows)))
    assert "\n" not in str(caught.value)


def test_few_problems_are_skipped_counted_and_named(tmp_path):
    root = place_pulse(tmp_path, 40)
    for i in range(120):  # so that two are at most 1 %
        for k in range(2):
            save_photo(root / "images" / f"{i}_{k}.jpg", 1000 + 2 * i + k)
    with open(root / "qscores.tsv", "a") as file:
        for i in range(120):
            file.writelines(f"\n{i}_{k}\t{SAFE}\t{i / 7 + k}" for k in range(2))
        file.write(f"\nmissing\t{SAFE}\t20")
    damaged = root / "images" / "7_1.jpg"
    damaged.write_bytes(damaged.read_bytes()[:700])
    (note,) = [n for n in perception.load(make_config(root)).notes if n.startswith("skipped")]
    assert "skipped 2 of 281 examples" in note and "7_1.jpg: damaged" in note
    assert "missing: qscores.tsv scores it, but there is no such photo" in note


def test_repeated_equal_scores_are_a_note(tmp_path):
    dataset = perception.load(make_config(own_csv(tmp_path, [*plain_rows(), "p3.jpg,3,10"])))
    assert "scores.csv gives 2 scores twice, with the same value" in dataset.notes


def test_votes_across_splits_and_of_unknown_photos_are_dropped_and_counted(tmp_path):
    root = place_pulse(tmp_path)
    config = make_config(root)
    plain = perception.load(config)
    train, test = (plain.splits[s].names for s in ("train", "test"))
    table = [
        (train[0], train[1], 0, "left"),
        (train[1], train[0], 0, "equal"),
        (train[0], train[1], 1, "right"),
        (train[2], test[0], 0, "left"),
        (train[2], "nowhere", 0, "left"),
        (test[1], test[0], 0, "right"),
        (train[2], train[2], 0, "left"),
    ]
    write_votes(root / "votes.csv", table, (SAFE, WEALTHY))
    config.loss.votes = 1.0
    dataset = perception.load(config)
    notes = " | ".join(dataset.notes)
    assert "dropped 1 of 6 votes: the two photos are in different splits" in notes
    assert "dropped 1 of 6 votes: 1 photos they name are not in the data" in notes
    assert "left out 1 of 7 votes in votes.csv" in notes
    assert len(dataset.training.names) == 1  # one pair, its three votes added up
    row = dataset.training.read(0)
    assert row["image"].shape == (2, 32, 32, 3) and row["score"].shape == (2, 2)
    np.testing.assert_array_equal(row["votes"], [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(row["image"][0], plain.splits["train"].read(0)["image"])
    first = dataset.splits["test"].read(1)
    numbers = [int(dataset.splits["test"].read(i)["number"]) for i in range(2)]
    np.testing.assert_array_equal(first["ballots"][0], [numbers[0], 0, 1])
    assert (first["ballots"][1:] == -1).all()


def test_bad_votes_are_one_clear_line(tmp_path):
    root = place_pulse(tmp_path, 10)
    write_votes(root / "votes.csv", [("00001", "00002", 0, "maybe")], (SAFE, WEALTHY))
    with pytest.raises(UserError, match="no vote can be used: row 2: 'maybe' between"):
        perception.load(make_config(root))
    config = make_config(place_pulse(tmp_path / "b", 10))
    config.loss.votes = 1.0
    with pytest.raises(UserError, match="there are no votes between training photos"):
        perception.load(config)


def test_swapped_pairs_are_one_pair():
    table = np.array([[5, 2, 0, 0], [2, 5, 0, 0], [2, 5, 0, 2]], np.int32)
    pairs, counts = votes.pairs(table, 1)
    np.testing.assert_array_equal(pairs, [[2, 5]])
    np.testing.assert_array_equal(counts, [[[1, 1, 1]]])


def test_votes_alone_give_scores_to_train_on(tmp_path):
    names = [f"{i:05d}" for i in range(40)]
    for i in range(40):
        save_photo(tmp_path / "images" / f"{names[i]}.jpg", i)
    rng = np.random.default_rng(0)
    ends = [rng.choice(40, 2, replace=False) for _ in range(3000)]
    table = [(names[a], names[b], 0, "left" if a > b else "right") for a, b in ends]
    write_votes(tmp_path / "votes.csv", table)
    dataset = perception.load(make_config(tmp_path))
    split = dataset.splits["train"]
    scores = [float(split.read(i)["score"][0]) for i in range(len(split.names))]
    order = np.corrcoef(np.argsort(np.argsort(scores)), [int(n) for n in split.names])[0, 1]
    assert order > 0.98
    assert any("ratings that follow from the votes" in note for note in dataset.notes)


def test_rank_votes_writes_a_csv_that_can_be_read(tmp_path, capsys):
    write_votes(tmp_path / "votes.csv", [("a", "b", 0, "left"), ("b", "c", 0, "equal")])
    target = tmp_path / "scores.csv"
    assert rank_votes.main(["", str(tmp_path / "votes.csv"), str(target)]) == 0
    rows = dict(line.split(",") for line in target.read_text().splitlines())
    assert rows["file"] == "safe" and float(rows["a"]) > float(rows["c"]) > float(rows["b"])
    assert rank_votes.main(["", str(tmp_path / "none.csv"), str(target)]) == 2
    assert "error: cannot read" in capsys.readouterr().err


def test_exact_copies_never_cross_splits(tmp_path):
    own_csv(tmp_path, plain_rows())
    for i in range(1, 30):
        (tmp_path / f"p{i}.jpg").write_bytes((tmp_path / f"p{i // 15}.jpg").read_bytes())
    dataset = perception.load(make_config(tmp_path))
    seen = [{s.read(i)["image"].tobytes() for i in range(len(s.names))}
            for s in dataset.splits.values()]  # fmt: skip
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert any("exact copies" in note for note in dataset.notes)


def test_oversampling_fills_every_tenth_of_the_range(tmp_path):
    rows = [f"p{i}.jpg,{(i / 29) ** 3 * 10 if i % 5 else ''},{i}" for i in range(30)]
    dataset = perception.load(make_config(own_csv(tmp_path, rows), oversample="safe"))
    split = dataset.splits["train"]
    scores = np.array([split.read(i)["score"][0] for i in range(len(split.names))])
    missing = np.isnan(scores)
    drawn = loader.train_rows(0, 400, len(scores), 0, len(scores), split.weights).ravel()
    assert missing.any() and not missing[drawn].any()
    note = f"{missing.sum()} training photos without that score are not drawn"
    assert any(note in line for line in dataset.notes)
    known = scores[~missing]
    edges = np.linspace(known.min(), known.max(), 11)
    counts, had = np.histogram(scores[drawn], edges)[0], np.histogram(known, edges)[0]
    assert had.max() > 2 * had[had > 0].min()  # they were not even before
    np.testing.assert_allclose(counts[had > 0] / counts.sum() * (had > 0).sum(), 1, atol=0.05)
    with pytest.raises(UserError, match="oversample='x' is no attribute"):
        perception.load(make_config(tmp_path, oversample="x"))


def test_decoding_keeps_the_middle_square_and_reduces_jpegs(tmp_path):
    save_photo(tmp_path / "a.png", 0, (60, 40))
    whole = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(images.decode_square(tmp_path / "a.png", 40), whole[:, 10:50])
    y, x = np.mgrid[:400, :640]
    smooth = np.stack([x * 255 / 640, y * 255 / 400, (x + y) / 5], axis=-1).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "b.jpg", quality=95)
    reduced = images.decode_square(tmp_path / "b.jpg", 40).astype(int)
    Image.fromarray(smooth).save(tmp_path / "b.png")
    assert abs(reduced - images.decode_square(tmp_path / "b.png", 40)).mean() < 3


def test_built_in_scenes_are_the_same_every_time_and_rank_as_they_look():
    config = perception_config.get_config()
    config.data.synthetic_examples = ConfigDict(dict(train=12, val=4, test=4))
    first, again = (loader.load_dataset(config) for _ in range(2))
    a, b = (d.splits["train"].read(2) for d in (first, again))
    np.testing.assert_array_equal(a["image"], b["image"])
    assert first.fingerprint == again.fingerprint
    config.seed = 1
    assert loader.load_dataset(config).fingerprint != first.fingerprint
    dark, light = (
        synthetic._read([STREETS[0]._replace(light=light)], 0, 48, 0).mean() for light in (0.0, 1.0)
    )
    assert light > 1.5 * dark
    full, empty = (
        synthetic._read([STREETS[0]._replace(green=g)], 0, 48, 0).astype(int) for g in (1.0, 0.0)
    )
    green = [(image[..., 1] - image[..., [0, 2]].max(-1) > 10).mean() for image in (full, empty)]
    assert green[0] > green[1] + 0.05


def test_columns_that_number_rows_are_no_attributes_and_the_others_are_told(tmp_path):
    header = ",file,safe,photo_id,lively,ID,latitude,lng"
    rows = [f"{i},p{i}.jpg,{i * 5 % 31},{900 + i},{i * 7 % 11},{i},1.5,2.5" for i in range(30)]
    dataset = perception.load(make_config(own_csv(tmp_path, rows, header)))
    assert dataset.info["attributes"] == ["safe", "lively"]
    told = "attributes of scores.csv: safe, lively; columns not used: (no name), photo_id, ID"
    assert told in dataset.notes
    np.testing.assert_array_equal(dataset.splits["train"].read(0)["place"], [1.5, 2.5])
    with pytest.raises(UserError, match="there is no photo_id"):
        perception.load(make_config(tmp_path, attributes=("photo_id",)))


def test_photos_without_scores_are_counted_and_named(tmp_path):
    dataset = perception.load(make_config(own_csv(tmp_path, plain_rows(28))))
    assert "left out 2 photos that scores.csv has no score of: p28.jpg, p29.jpg" in dataset.notes


def test_splits_of_its_own_leave_no_room_for_folds(tmp_path):
    rows = [f"{row},{('train', 'Valid', 'testing')[i % 3]}" for i, row in enumerate(plain_rows())]
    own_csv(tmp_path, rows, "file,safe,lively,split")
    counts = {n: s.examples for n, s in perception.load(make_config(tmp_path)).splits.items()}
    assert counts == {"train": 10, "val": 10, "test": 10}
    with pytest.raises(UserError, match="data.folds and data.split=city would have no effect"):
        perception.load(make_config(tmp_path, folds=3))


def test_the_built_in_scenes_refuse_options_for_photos():
    with pytest.raises(UserError, match="data.folds=3 is for photos at data.path"):
        loader.load_dataset(make_config("", folds=3))


def test_folders_called_like_splits_are_splits(tmp_path):
    for i in range(30):
        split = ("train", "valid", "Test")[i % 3]
        save_photo(tmp_path / "images" / split / f"p{i}.jpg", i)
    (tmp_path / "scores.csv").write_text("\n".join(["file,safe,lively", *plain_rows()]))
    rows = [row.replace(".jpg", "") for row in plain_rows()]
    (tmp_path / "names.csv").write_text("\n".join(["file,safe,lively", *rows]))
    for path in (tmp_path / "scores.csv", tmp_path / "names.csv"):
        if path.name == "scores.csv":  # named with its folder, as people do
            text = path.read_text()
            for i in range(30):
                folder = ("train", "valid", "Test")[i % 3]
                text = text.replace(f"\np{i}.jpg", f"\nimages/{folder}/p{i}.jpg")
            path.write_text(text)
        dataset = perception.load(make_config(path))
        assert sorted(dataset.splits["test"].names) == sorted(f"p{i}" for i in range(2, 30, 3))


def test_unknown_choices_photos_and_studies_are_counted_and_named(tmp_path):
    root = place_pulse(tmp_path)
    table = [("00001", "00002", 0, "left"), ("00001", "00003", 0, "Neither"),
             ("00001", "nowhere", 0, "left"), ("00001", "00003", 1, "right")]  # fmt: skip
    write_votes(root / "votes.csv", table, (SAFE, "5fffffffffffffffffffffff"))
    notes = " | ".join(perception.load(make_config(root)).notes)
    assert "left out 1 of 4 votes in votes.csv" in notes and "row 3: 'neither'" in notes
    assert "1 photos they name are not in the data (nowhere)" in notes
    assert "1 study ids in votes.csv are none of Place Pulse's" in notes


def test_rank_votes_never_overwrites_its_votes(tmp_path, capsys):
    source = tmp_path / "votes.csv"
    write_votes(source, [("a", "b", 0, "left"), ("b", "c", 0, "equal")])
    before = source.read_bytes()
    (tmp_path / "link.csv").symlink_to(source)
    for target in (source, tmp_path / "." / "votes.csv", tmp_path / "link.csv"):
        assert rank_votes.main(["", str(source), str(target)]) == 2
        assert "is the file of votes" in capsys.readouterr().err
    assert rank_votes.main(["", str(source), str(source / "below.csv")]) == 2
    assert "error: cannot write" in capsys.readouterr().err
    assert source.read_bytes() == before
