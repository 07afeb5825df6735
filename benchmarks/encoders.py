"""Images a second of each family of encoders, beside keras-on-jax and torchvision.

KERAS_BACKEND=jax python -m benchmarks.encoders
python -m benchmarks.encoders --names=mobilenet_v2,resnet50 --batch_size=32

One member a family as an ImageNet classifier at its usual size, float32 on a CPU: a training step
(softmax cross-entropy, SGD with momentum) and inference, in one process, in turn, several rounds;
medians count. Ours starts from uint8 and scales it; keras and torchvision get scaled floats.
"""

import functools
import gc
import math
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags, logging

from benchmarks.timing import Contestant, in_turn, machine, medians, write_result
from jaxvision import workdir
from jaxvision.models import encoders

FLAGS = flags.FLAGS
SIZE, CLASSES = 224, 1000
# Ours -> (keras.applications' name, torchvision's name).
REFERENCES = {
    "mobilenet_v2": ("MobileNetV2", "mobilenet_v2"),
    "vgg16": ("VGG16", "vgg16"),
    "resnet50": ("ResNet50", "resnet50"),
    "efficientnet_b0": ("EfficientNetB0", "efficientnet_b0"),
}


def contestant(call, wait, size: int) -> Contestant:
    """Calls `call()` until enough images went through, then `wait(result)`."""

    def run(images):
        count = math.ceil(images / size)
        for _ in range(count):
            result = call()
        wait(result)
        return count * size

    return Contestant(run)


def ours(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Contestant]:
    """The linen module; images uint8 [B, 224, 224, 3]."""
    model = encoders.make(name, num_classes=CLASSES)
    optimizer = optax.sgd(1e-3, momentum=0.9)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)
    extra = {k: v for k, v in variables.items() if k != "params"}

    def loss_of(params, extra, key, images, labels):
        logits, updated = model.apply(
            {"params": params, **extra},
            images,
            train=True,
            mutable=list(extra),
            rngs={"dropout": key},
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, {**extra, **updated}

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, images, labels):
        params, extra, optimizer_state, key = state
        key, dropout_key = jax.random.split(key)
        grads, extra = jax.grad(loss_of, has_aux=True)(params, extra, dropout_key, images, labels)
        updates, optimizer_state = optimizer.update(grads, optimizer_state)
        return optax.apply_updates(params, updates), extra, optimizer_state, key

    params = jax.tree.map(jnp.copy, variables["params"])
    state = (params, extra, optimizer.init(params), jax.random.key(0))
    state = jax.tree.map(jnp.copy, state)
    predict = jax.jit(functools.partial(model.apply, train=False))

    def train():
        nonlocal state
        state = step(state, images, labels)
        return state

    return {
        "jax step": contestant(train, jax.block_until_ready, len(images)),
        "jax inference": contestant(
            lambda: predict(variables, images), jax.block_until_ready, len(images)
        ),
    }


def of_keras(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Contestant]:
    """keras.applications' model on the jax backend, through `train_on_batch`."""
    import keras

    model = getattr(keras.applications, name)(weights=None, classes=CLASSES)
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy")
    scaled = images.astype(np.float32) / 127.5 - 1.0
    return {  # both give host arrays: nothing is left to wait for
        "keras step": contestant(
            lambda: model.train_on_batch(scaled, labels), np.asarray, len(images)
        ),
        "keras inference": contestant(
            lambda: model.predict_on_batch(scaled), np.asarray, len(images)
        ),
    }


def of_torchvision(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Contestant]:
    """torchvision's model, channels_last, on as many threads as there are cores."""
    import torch
    import torchvision

    torch.set_num_threads(os.cpu_count())
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() != "cpu" else "cpu"
    layout = {"device": device, "memory_format": torch.channels_last}
    trained = getattr(torchvision.models, name)(num_classes=CLASSES).to(**layout).train()
    used = getattr(torchvision.models, name)(num_classes=CLASSES).to(**layout).eval()
    optimizer = torch.optim.SGD(trained.parameters(), 1e-3, momentum=0.9)
    scaled = torch.from_numpy(images.astype(np.float32) / 127.5 - 1.0).permute(0, 3, 1, 2)
    scaled, target = scaled.to(**layout), torch.from_numpy(labels).long().to(device)

    def train():
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(trained(scaled), target).backward()
        optimizer.step()

    @torch.inference_mode()
    def predict():
        return used(scaled)

    def wait(_):
        if device == "cuda":
            torch.cuda.synchronize()

    return {
        "torch step": contestant(train, wait, len(images)),
        "torch inference": contestant(predict, wait, len(images)),
    }


def measure(name: str, batch_size: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """{contestant: images a second, one value a round} of one family."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, SIZE, SIZE, 3), np.uint8)
    labels = rng.integers(0, CLASSES, batch_size).astype(np.int32)
    keras_name, torch_name = REFERENCES[name]
    contestants = {
        **ours(name, images, labels),
        **of_keras(keras_name, images, labels),
        **of_torchvision(torch_name, images, labels),
    }
    return in_turn(contestants, rounds, seconds)


def main(argv: list[str]) -> None:
    """Measures, prints a table row a family as it goes, and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)
    workdir.keep_compiled_programs()
    rounds, columns = {}, ("jax", "keras", "torch")
    print(f"{'images/s':<18}{'':10}" + "".join(f"{name:>10}" for name in columns))
    for name in FLAGS.names:
        rounds[name] = measure(name, FLAGS.batch_size, FLAGS.repeats, FLAGS.seconds)
        rates = medians(rounds[name])
        for what in ("step", "inference"):
            row = "".join(f"{rates[f'{column} {what}']:10.1f}" for column in columns)
            print(f"{name:<18}{what:10}{row}", flush=True)
        gc.collect()
    rates = {name: medians(values) for name, values in rounds.items()}
    result = {"machine": machine(), "batch_size": FLAGS.batch_size, "images_per_second": rates}
    output = FLAGS.output or f"benchmarks/results/encoders_{jax.default_backend()}.json"
    write_result(output, {**result, "rounds": rounds})


if __name__ == "__main__":
    flags.DEFINE_list("names", list(REFERENCES), "Encoders to measure.")
    flags.DEFINE_integer("batch_size", 8, "Images a step.")
    flags.DEFINE_integer("repeats", 3, "Rounds.")
    flags.DEFINE_float("seconds", 5.0, "About how long a turn is.")
    flags.DEFINE_string("output", "", "A JSON file; '': under benchmarks/results/.")
    app.run(main)
