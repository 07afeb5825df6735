"""Pictures a second of `--mode=predict`, beside the model alone, and what reading and writing take.

python -m benchmarks.predict_rates --inputs=zoo/fer=/data/faces,zoo/streets=/data/streets
python -m benchmarks.predict_rates --inputs=zoo/rodent=/data/crops --film=zoo/rodent=/data/film.mp4

Everything runs in one process with compiled programs, in turn, several rounds; medians count.

    decode    files to pixels, in as many threads as cores
    read      the same, and from pixels to what the model takes
    model     the bare inference step on full batches of predict.batch_size, ready on the host
    write     from the model's outputs to all files of a picture, in threads
    predict   what --mode=predict does with these files

`together` is what all cores give when they do read, model and write one after the other, without a
moment's wait: 1 / (1/read + 1/model + 1/write).
"""

import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

from benchmarks.timing import Contestant, in_turn, machine, medians, write_result
from jaxvision import predict
from jaxvision.engine import Engine, make_apply, open_engine, read_config
from jaxvision.input_pipeline.images import decode_image
from jaxvision.input_pipeline.parallel import cpu_threads, in_threads
from jaxvision.input_pipeline.video import read_video
from jaxvision.visualize.film import write_film

FLAGS = flags.FLAGS
PREPARED = 96  # pictures that are ready for the model or for writing
FRAMES = 300  # of a film

flags.DEFINE_list("inputs", "", "MODEL=FOLDER of pictures, several with commas.")
flags.DEFINE_string("film", "", "MODEL=FILE.")
flags.DEFINE_integer("repeats", 3, "Turns of each.")
flags.DEFINE_float("seconds", 2.0, "About how long a turn is.")
flags.DEFINE_string("output", "benchmarks/results/predict_rates_cpu.json", "Where to write.")
flags.DEFINE_string("name", "now", "Of these figures in the file; others in it stay.")


def in_all_threads(function, items) -> int:
    """Runs function(item) as predict does; how many there were."""
    return sum(1 for _ in in_threads(function, items, cpu_threads(), predict.AHEAD))


def bare_model(engine: Engine, inputs: list[np.ndarray], batch_size: int) -> Contestant:
    """The model on full batches; pieces are pictures, each of one or more rows of one shape."""
    rows = np.concatenate(inputs)
    batches = [rows[i : i + batch_size] for i in range(0, len(rows) - batch_size + 1, batch_size)]
    each = len(rows) / len(inputs)

    def run(pictures: int) -> float:
        count = -(-int(pictures * each) // batch_size)
        for batch in itertools.islice(itertools.cycle(batches), count):
            for array in engine.predict(batch).values():
                np.asarray(array)
        return count * batch_size / each

    return Contestant(run, warm_up=4)


def picture_stages(model: str, folder: Path, output: Path) -> dict[str, Contestant]:
    """The stages of a model on the pictures of a folder."""
    config = read_config(model)
    engine = open_engine(config, model)
    predictor, batch_size = engine.predictor, config.predict.batch_size
    apply = make_apply(engine, batch_size)
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in predictor.extensions]

    def some(count: int) -> Iterator[Path]:
        return itertools.islice(itertools.cycle(files), count)

    def decode(path: Path) -> np.ndarray:
        return decode_image(path, config.data.range, least_side=predictor.least_side)

    ready = [(p, decode(p)) for p in some(PREPARED)]
    ready = [(p, pixels, predictor.prepare(pixels)) for p, pixels in ready]
    answers = list(apply((item, item[2].inputs) for item in ready))

    def new_folder() -> Path:  # files that are written over take longer
        return Path(tempfile.mkdtemp(dir=output))

    def write(count: int) -> int:
        folder = new_folder()

        def one(item: tuple[int, tuple[Any, dict[str, np.ndarray]]]) -> None:
            number, ((path, pixels, prepared), outputs) = item
            prediction = predictor.decode(outputs, prepared.context, engine.fitted)
            predictor.write(pixels, prediction, path.with_stem(f"{number}"), folder)

        return in_all_threads(one, enumerate(itertools.islice(itertools.cycle(answers), count)))

    def whole(count: int) -> int:
        done = 0
        while done < count:
            work = predict.Work(predictor, apply, new_folder(), engine.fitted, config.data.range)
            done += sum(1 for _ in predict.predict_each(work, files[: count - done]))
        return done

    return {
        "decode": Contestant(lambda n: in_all_threads(decode, some(n))),
        "read": Contestant(
            lambda n: in_all_threads(lambda p: predictor.prepare(decode(p)), some(n))
        ),
        "model": bare_model(engine, [prepared.inputs for _, _, prepared in ready], batch_size),
        "write": Contestant(write),
        "predict": Contestant(whole),
    }


def film_stages(model: str, film: Path, output: Path) -> dict[str, Contestant]:
    """Frames a second: a film decoded, decoded and encoded, and all of its prediction."""
    config = read_config(model)
    engine = open_engine(config, model)
    apply = make_apply(engine, config.predict.batch_size)
    fps, frames = read_video(film)
    short, drawn = output / "short.mp4", output / "drawn"
    drawn.mkdir()
    count = write_film(short, itertools.islice(frames, FRAMES), fps)

    def decode(_: int) -> int:
        return sum(1 for _ in read_video(short)[1])

    def copy(_: int) -> int:
        return write_film(output / "copy.mp4", read_video(short)[1], fps)

    def whole(_: int) -> int:
        engine.predictor.stream(apply, short, drawn, engine.fitted)
        return count

    inputs = [
        engine.predictor.prepare(p).inputs for p in itertools.islice(read_video(short)[1], 64)
    ]
    return {
        "decode": Contestant(decode),
        "decode and write": Contestant(copy),
        "model": bare_model(engine, inputs, config.predict.batch_size),
        "predict": Contestant(whole),
    }


def told(name: str, stages: dict[str, Contestant]) -> dict[str, Any]:
    """The rates of a model's stages, printed as well."""
    rates = in_turn(stages, FLAGS.repeats, FLAGS.seconds)
    found = medians(rates)
    if "read" in found:
        found["together"] = 1 / sum(1 / found[stage] for stage in ("read", "model", "write"))
    print(f"{name}: " + ", ".join(f"{n} {rate:,.0f}" for n, rate in found.items()), flush=True)
    return {"medians": found, "rounds": rates}


def main(argv: list[str]) -> None:
    del argv
    logging.set_verbosity(logging.ERROR)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for pair in FLAGS.inputs:
            model, pictures = pair.split("=")
            results[model] = told(model, picture_stages(model, Path(pictures), Path(folder)))
        if FLAGS.film:
            model, film = FLAGS.film.split("=")
            results[f"{model}, film"] = told(
                f"{model}, film", film_stages(model, Path(film), Path(folder))
            )
    path = Path(FLAGS.output)
    kept = json.loads(path.read_text()) if path.exists() else {}
    results = {**kept.get(FLAGS.name, {}).get("rates", {}), **results}
    write_result(path, {**kept, FLAGS.name: {"rates": results, **machine()}})


if __name__ == "__main__":
    app.run(main)
