"""Images a second of exported models: the model's own code, its program, and onnxruntime.

python -m benchmarks.export_formats
python -m benchmarks.export_formats --models=zoo/fer,zoo/rodent --repeats=3

Each way predicts the same batch, which starts as uint8 on the host and ends as numpy, in one
process, in turn, several rounds; medians count. `jit` is the code of jaxvision/tasks, compiled,
with the folder's weights. Segmentation gets 256 x 256 pixels, others what they were trained on.
"""

import math

import jax
import numpy as np
from absl import app, flags, logging
from flax.traverse_util import unflatten_dict

from benchmarks.timing import Contestant, in_turn, machine, medians, write_result
from jaxvision import workdir
from jaxvision.engine import open_engine, read_config
from jaxvision.exported import folder as exported_folder
from jaxvision.tasks import find_task

FLAGS = flags.FLAGS
ALL = "zoo/buildings,zoo/fer,zoo/streets,zoo/rodent,zoo/digits"
OPEN_SIDE = 256  # pixels, of a segmented picture

flags.DEFINE_list("models", ALL, "Exported folders.")
flags.DEFINE_list("batches", "1,8", "Batch sizes.")
flags.DEFINE_integer("repeats", 5, "Turns of each.")
flags.DEFINE_float("seconds", 1.0, "About how long a turn is.")
flags.DEFINE_string(
    "output", "benchmarks/results/export_formats_cpu.json", "Where the result goes."
)


def image_shape(described: dict) -> tuple[int, ...]:
    """(H, W, C) of what is predicted."""
    sizes = []
    for axis, size in enumerate(described["input"]["shape"][1:]):
        if isinstance(size, str):
            size = OPEN_SIDE if "*" in size else described["info"]["image"][axis]
        sizes.append(size)
    return tuple(sizes)


def contestants(folder: str, batch: int) -> dict[str, Contestant]:
    """The three ways to predict `batch` images."""
    exported = exported_folder.read(folder)
    config = read_config(folder)
    if "cached_views" in config.data:  # of training, which needs the encoder's own weights
        config.data.cached_views = 0
    images = np.random.default_rng(0).integers(
        0, 256, (batch, *image_shape(exported.described)), np.uint8
    )
    model = jax.jit(find_task(config, exported.described["info"]).model.predict)
    weights = exported_folder.read_variables(exported)
    variables = jax.device_put(unflatten_dict(weights, sep="/"))
    ways = {
        "jit": lambda images: model(variables, images),
        "stablehlo": open_engine(config, folder).predict,
        "onnxruntime": open_engine(config, folder, "onnx").predict,
    }
    return {name: _contestant(predict, images) for name, predict in ways.items()}


def _contestant(predict, images):
    def run(pieces):
        count = math.ceil(pieces / len(images))
        for _ in range(count):
            jax.device_get(predict(images))
        return count * len(images)

    return Contestant(run)


def main(argv):
    """Prints the table and writes the JSON."""
    del argv
    logging.set_verbosity(logging.WARNING)
    workdir.keep_compiled_programs()
    rows = []
    print("| model | batch | jit | StableHLO | onnxruntime | onnxruntime / jit |")
    print("|---|---:|---:|---:|---:|---:|")
    for folder in FLAGS.models:
        for batch in map(int, FLAGS.batches):
            rates = in_turn(contestants(folder, batch), FLAGS.repeats, FLAGS.seconds)
            middle = medians(rates)
            ratio = middle["onnxruntime"] / middle["jit"]
            numbers = " | ".join(f"{rate:,.0f}" for rate in middle.values())
            print(f"| {folder} | {batch} | {numbers} | {ratio:.2f} |", flush=True)
            rows.append({"model": folder, "batch": batch, "images_per_second": rates})
    write_result(FLAGS.output, {"machine": machine(), "rounds": rows})


if __name__ == "__main__":
    app.run(main)
