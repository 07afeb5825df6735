"""Batch norm that a frozen layer keeps on its running statistics."""

from flax import linen as nn


def batch_norm(train, frozen, *, name, **options):
    """`nn.BatchNorm(name=name, **options)` on batch statistics in training, but not if frozen.

    In a frozen layer the weights fit the running statistics that they were trained with, so those
    are used in training too, and do not move.

    Args:
      train: whether the model is training.
      frozen: names of the frozen layers.
      name: this layer's.
      options: further fields of `nn.BatchNorm`.
    """
    return nn.BatchNorm(use_running_average=not train or name in frozen, name=name, **options)
