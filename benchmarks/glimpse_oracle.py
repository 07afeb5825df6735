"""What better places could bring a trained network of glimpses: fixed ones, and an oracle's.

python -m benchmarks.glimpse_oracle --workdir=workdir/policies/learned_0

PSNR after each glimpse, on validation images, with one network: of its learned policy, of a grid,
of the fixed sequence that is found by taking again and again the place that helps all images most,
and of an oracle that takes the place that helps each image most. The oracle looks at the error,
which no policy can; it is greedy and has `--places` squared places to choose from, so it bounds
what seeing can be worth only about.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import trained, workdir
from jaxvision.input_pipeline import loader
from jaxvision.models.ram import RAM
from jaxvision.tasks.attention import metrics
from jaxvision.tasks.attention.glimpses import grid_points
from jaxvision.tasks.attention.model import make_network
from jaxvision.tasks.attention.psnr import psnr
from jaxvision.tasks.attention.shapes import input_shape


def candidates(side: int) -> np.ndarray:
    """`side` x `side` places over the image, [side^2, 2]."""
    axis = np.linspace(-1, 1, side)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def error_at(network: RAM, variables: dict, images: np.ndarray):
    """Jitted: locations [t, B, 2] -> squared errors [t + 1, B]."""

    @jax.jit
    def errors(locations):
        # The network always looks T times; what follows the t-th changes nothing before it.
        left = network.glimpses - len(locations)
        given = jnp.concatenate([locations, jnp.zeros((left, *locations.shape[1:]))])
        outputs = network.apply(variables, images, jax.random.key(0), given).outputs
        return metrics.squared_errors(jnp.clip(outputs, 0, 1), images)[: len(locations) + 1]

    return errors


def greedy(errors, places: np.ndarray, glimpses: int, images: int, for_each: bool) -> np.ndarray:
    """Places taken one after the other, each the best of `places` by then: [T, B, 2].

    Args:
      for_each: the best for each image, else the best for all of them together.
    """
    taken = np.zeros((0, images, 2))
    for _ in range(glimpses):
        after = []
        for place in places:
            tried = np.concatenate([taken, np.broadcast_to(place, (1, images, 2))])
            after.append(psnr(np.asarray(errors(tried)[-1])))
        after = np.stack(after)  # [places, B]
        best = after.argmax(0) if for_each else np.full(images, after.mean(1).argmax())
        taken = np.concatenate([taken, places[best][None]])
    return taken


def main(arguments: list[str] | None = None) -> None:
    """Prints a line a policy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="of a finished run with a decoder")
    parser.add_argument("--images", type=int, default=300, help="of the validation split")
    parser.add_argument("--places", type=int, default=13, help="candidates along each side")
    options = parser.parse_args(arguments)
    config = workdir.read_config(options.workdir)
    model = trained.load_trained(config, options.workdir)
    split = loader.load_dataset(config).splits["val"]
    count = min(options.images, len(split))
    images = np.stack([split.read(i)["image"] for i in range(count)])
    network = make_network(
        config, len(model.info["classes"]), input_shape(config, images.shape[1:])
    )
    errors = error_at(network, model.variables, images)
    own = network.apply(model.variables, images, jax.random.key(0), noise_scale=0.0).locations
    everywhere = (network.glimpses, count, 2)
    places = candidates(options.places)
    found = {
        "learned, at its means": np.asarray(own),
        "grid": np.broadcast_to(grid_points(network.glimpses)[:, None], everywhere),
        "best fixed": greedy(errors, places, network.glimpses, count, for_each=False),
        "oracle for each image": greedy(errors, places, network.glimpses, count, for_each=True),
    }
    for name, locations in found.items():
        decibels = psnr(np.asarray(errors(locations))).mean(1)
        print(f"{name:<26}", " ".join(f"{value:6.2f}" for value in decibels))


if __name__ == "__main__":
    main()
