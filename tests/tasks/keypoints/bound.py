"""A task with weights of its own, bound to batches as the loop binds a trained one."""

import functools

import jax

from configs import rat
from jaxvision import batching
from jaxvision.input_pipeline.synthetic import keypoints as synthetic
from jaxvision.tasks import keypoints

SIDE = 24


def tiny(**predict):
    config = rat.get_config()
    config.batch_size = 8
    config.data.image_size = SIDE
    config.data.synthetic_examples = dict(train=16, val=4, test=6)
    config.model.widths = (4, 4, 4)
    config.train.steps = 4
    config.eval.every_epochs = 1.0
    config.eval.batch_size = 4
    config.eval.figure_rows = 3
    config.predict.batch_size = 8
    config.predict.update(predict)
    return config


@functools.cache
def dataset():
    return synthetic.load(tiny())


@functools.cache
def variables():
    task = keypoints.make(tiny(), dataset().info)
    row = dataset().splits["train"].read(0)
    return jax.jit(task.model.init)(jax.random.key(0), {"image": row["image"][None]})


def bind(config):
    """The config's task, and its `apply`, of weights that learned nothing."""
    task = keypoints.make(config, dataset().info)
    predict = functools.partial(jax.jit(task.model.predict), variables())
    size = config.predict.batch_size
    return task, lambda items: batching.apply_in_batches(predict, items, size)


def answer(task, apply, picture, fitted=None):
    """The prediction for one picture."""
    prepared = task.predictor.prepare(picture)
    ((_, outputs),) = apply([(None, prepared.inputs)])
    return task.predictor.decode(outputs, prepared.context, fitted or {})
