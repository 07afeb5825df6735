"""Photos a second that decoders read, in turn: whole, and at the size that a model needs.

    python -m benchmarks.decoding --photos=streets=/data/streets,buildings=/data/buildings

A decoder that is not installed is left out: `pip install opencv-python-headless simplejpeg
imagecodecs`. All of them wrap libjpeg-turbo, and all run in one thread. `--model=zoo/streets` also
tells how far its scores move when large photos are decoded reduced.
"""

import argparse
import importlib.util
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import ROOT, Contestant, in_turn, machine, medians, write_result
from jaxvision.engine import open_engine, read_config
from jaxvision.input_pipeline import images

PHOTOS = 24  # of each folder
LARGE, LARGE_PHOTOS = (4000, 3000), 4  # pixels, and how many are made so large
SIDE = 256  # pixels: what a perception model needs of the shorter side
FRACTIONS = (8, 4, 2, 1)
Decode = Callable[[Path, int], np.ndarray]


def ours(path: Path, least: int) -> np.ndarray:
    """What all of jaxvision reads by: Pillow, with the checks of a file that may be anything."""
    return images.decode_image(path, least_side=least)


def pillow(path: Path, least: int) -> np.ndarray:
    """Pillow as usual, its draft mode for reduced sizes."""
    with Image.open(path) as image:
        if least:
            image.draft(None, (least, least))
        return np.array(image.convert("RGB"))


def opencv(path: Path, least: int) -> np.ndarray:
    import cv2

    with Image.open(path) as image:  # which fraction: OpenCV does not tell a picture's size
        fraction = _fraction(min(image.size), least) if least else 1
    flag = {1: cv2.IMREAD_COLOR_RGB, 2: cv2.IMREAD_REDUCED_COLOR_2}
    flag |= {4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    picture = cv2.imread(str(path), flag[fraction])
    return picture if fraction == 1 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def simplejpeg(path: Path, least: int) -> np.ndarray:
    import simplejpeg

    return simplejpeg.decode_jpeg(path.read_bytes(), "RGB", min_height=least, min_width=least)


def imagecodecs(path: Path, least: int) -> np.ndarray:
    import imagecodecs

    del least  # it decodes whole pictures alone
    return imagecodecs.jpeg8_decode(path.read_bytes(), outcolorspace="RGB")


DECODERS = {f.__name__: f for f in (ours, pillow, opencv, simplejpeg, imagecodecs)}
PACKAGES = {"opencv": "cv2", "simplejpeg": "simplejpeg", "imagecodecs": "imagecodecs"}


def _fraction(shorter: int, least: int) -> int:
    return next(f for f in FRACTIONS if shorter // least >= f or f == 1)


def installed() -> dict[str, Decode]:
    """The decoders that can be imported."""
    found = importlib.util.find_spec
    return {n: f for n, f in DECODERS.items() if n not in PACKAGES or found(PACKAGES[n])}


def compare(paths: list[Path], least: int, rounds: int, seconds: float) -> dict:
    """Rates of every decoder, and how far it is from Pillow once at its final size.

    Args:
      paths: of JPEG files.
      least: 0 decodes whole; else pictures are brought to `least` x `least` after decoding.
    """
    decoders = installed()
    finish = (lambda p: images.middle_square(p, least)) if least else (lambda p: p)

    def reader(decode):
        def run(count):
            for i in range(count):
                finish(decode(paths[i % len(paths)], least))
            return count

        return Contestant(run, warm_up=2)

    contestants = {name: reader(decode) for name, decode in decoders.items()}
    if least:  # what it costs to decode all that is then thrown away
        contestants["ours, whole"] = reader(lambda path, _: ours(path, 0))
    rates = in_turn(contestants, rounds, seconds)
    off = {}
    for name, decode in decoders.items():
        pairs = [(finish(decode(p, least)), finish(pillow(p, 0))) for p in paths]
        gaps = [np.abs(a.astype(int) - b) for a, b in pairs]
        off[name] = {"mean": float(np.mean([g.mean() for g in gaps]))}
        off[name]["most"] = int(max(g.max() for g in gaps))
    return {"medians": medians(rates), "levels_off_pillow_whole": off, "rounds": rates}


def moved_scores(model: str, paths: list[Path]) -> dict[str, float]:
    """How far a perception model's scores move from whole to reduced decoding, on 1 to 10.

    'spread' is the uncertainty that it says of them itself.
    """
    engine = open_engine(read_config(model), model)
    predictor = engine.predictor

    def predictions(least: int) -> list[dict]:
        prepared = [predictor.prepare(ours(path, least)) for path in paths]
        outputs = engine.predict(np.concatenate([p.inputs for p in prepared]))
        outputs = {name: np.asarray(array)[:, None] for name, array in outputs.items()}
        rows = [{name: array[i] for name, array in outputs.items()} for i in range(len(paths))]
        return [predictor.decode(row, None, engine.fitted).record for row in rows]

    def values(records: list[dict], key: str) -> np.ndarray:
        return np.array([list(record[key].values()) for record in records])

    whole, reduced = predictions(0), predictions(predictor.least_side)
    moved = np.abs(values(whole, "scores") - values(reduced, "scores"))
    spread = values(whole, "uncertainty").mean()
    return {"mean": float(moved.mean()), "most": float(moved.max()), "spread": float(spread)}


def enlarged(paths: list[Path], folder: Path) -> list[Path]:
    """The photos at LARGE pixels, as a telephone saves them."""
    for i, path in enumerate(paths):
        buffer = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC).save(
                buffer, "JPEG", quality=92
            )
        (folder / f"{i:02d}.jpg").write_bytes(buffer.getvalue())
    return sorted(folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--photos",
        required=True,
        help="NAME=FOLDER of JPEG files, with commas; the first ones are also made large",
    )
    parser.add_argument("--model", default="", help="a perception model, run or exported")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    parser.add_argument("--out", default=ROOT / "benchmarks" / "results" / "decoding_cpu.json")
    options = parser.parse_args()
    kinds = dict(pair.split("=") for pair in options.photos.split(","))
    kinds = {name: sorted(Path(folder).glob("*.jpg"))[:PHOTOS] for name, folder in kinds.items()}
    results, moved = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        large = enlarged(next(iter(kinds.values())), Path(folder))
        kinds["large"] = large[:LARGE_PHOTOS]
        if options.model:
            moved = {options.model: moved_scores(options.model, large)}
            print(moved, flush=True)
        for kind, paths in kinds.items():
            with Image.open(paths[0]) as image:
                width, height = image.size
            for least in (0, SIDE) if min(width, height) >= 2 * SIDE else (0,):
                name = f"{kind}, {width} x {height}" + (f" to {least} x {least}" if least else "")
                results[name] = compare(paths, least, options.rounds, options.seconds)
                told = results[name]["medians"].items()
                print(f"{name}: " + ", ".join(f"{n} {rate:,.1f}" for n, rate in told), flush=True)
    result = {"photos_per_second": results, "scores_moved": moved}
    write_result(options.out, {**result, **machine()})


if __name__ == "__main__":
    main()
