"""Convolution, with what follows it folded in, and pooling."""

from typing import NamedTuple

import numpy as np
from jax import lax

from jaxvision.export.onnx.graph import NCHW, Constant, Graph, Tensor, is_static

NHWC = lax.ConvDimensionNumbers(NCHW, (3, 2, 0, 1), NCHW)


class Convolution(NamedTuple):
    """What a node was made from.

    Attributes:
      parts: the input's name and channels; several where it was put together for this, since the
        sum of a convolution of each needs no copy of them side by side.
      kernel: [O, C / groups, kh, kw].
      bias: [O].
      attributes: of the node.
    """

    parts: tuple[tuple[str, int], ...]
    kernel: np.ndarray
    bias: np.ndarray
    attributes: dict


def convolution(graph: Graph, eqn, x, kernel):
    """[B, H, W, C] by [kh, kw, C / groups, O], known at conversion; None for what cannot be."""
    params = eqn.params
    plain = params["dimension_numbers"] == NHWC and params["batch_group_count"] == 1
    if not plain or not isinstance(kernel, Constant) or any(n != 1 for n in params["lhs_dilation"]):
        return None
    strides, sides = params["window_strides"], kernel.shape[:2]
    dilation = params["rhs_dilation"]
    padded = [1 + (side - 1) * step for side, step in zip(sides, dilation, strict=True)]
    padding = _padding(x.shape[1:3], padded, strides, params["padding"])
    if padding is None:
        return None
    attributes = {
        **padding,
        "strides": strides,
        "dilations": dilation,
        "group": params["feature_group_count"],
        "kernel_shape": sides,
    }
    weights = kernel.value.transpose(3, 2, 0, 1)
    name = graph.arranged(graph.expanded(x), NCHW)
    parts = graph.joined.get(name, ()) if params["feature_group_count"] == 1 else ()
    layer = Convolution(
        parts or ((name, x.shape[3]),), weights, np.zeros(len(weights), np.float32), attributes
    )
    return _emit(graph, layer, eqn.outvars[0].aval.shape)


def folded(graph: Graph, kind: str, x, y):
    """x + y, x - y, x * y or x / y inside the convolution that made x; None where there is none.

    y is known: one number a channel, or one for all.
    """
    if not isinstance(x, Tensor) or x.name not in graph.convolutions or not isinstance(y, Constant):
        return None
    layer = graph.convolutions[x.name]
    channels = len(layer.bias)
    if y.value.size != 1 and y.shape != (1, 1, 1, channels):
        return None
    factor = np.broadcast_to(y.value.ravel(), channels).astype(np.float64)
    if kind in ("Add", "Sub"):
        layer = layer._replace(bias=layer.bias + (factor if kind == "Add" else -factor))
    else:
        factor = 1 / factor if kind == "Div" else factor
        kernel = layer.kernel * factor[:, None, None, None]
        layer = layer._replace(kernel=kernel, bias=layer.bias * factor)
    return _emit(graph, layer, x.shape)


def _emit(graph, layer, shape):
    name, start = "", 0
    for part, channels in layer.parts:
        # Float64 until here: a batch norm is three steps.
        weights = [np.float32(layer.kernel[:, start : start + channels])]
        weights += [] if name else [np.float32(layer.bias)]
        term = graph.op("Conv", part, *map(graph.constant, weights), **layer.attributes)
        name, start = graph.op("Add", name, term) if name else term, start + channels
    graph.convolutions[name] = layer
    return Tensor(name, shape, NCHW)


def max_pool(graph: Graph, eqn, x):
    """The largest in each window [1, kh, kw, 1]; None for other windows."""
    params = eqn.params
    window, strides = params["window_dimensions"], params["window_strides"]
    dilated = any(n != 1 for n in (*params["base_dilation"], *params["window_dilation"]))
    if len(window) != 4 or window[0] != 1 or window[3] != 1 or dilated:
        return None
    padding = _padding(x.shape[1:3], window[1:3], strides[1:3], params["padding"][1:3])
    if padding is None:
        return None
    name = graph.arranged(graph.expanded(x), NCHW)
    name = graph.op("MaxPool", name, kernel_shape=window[1:3], strides=strides[1:3], **padding)
    return Tensor(name, eqn.outvars[0].aval.shape, NCHW)


def _padding(sizes, sides, strides, padding):
    """The attributes for explicit padding ((top, bottom), (left, right)), which may be symbolic."""
    if is_static([n for pair in padding for n in pair]):
        return {"pads": [pair[end] for end in (0, 1) for pair in padding]}
    same = lax.padtype_to_pads(sizes, sides, strides, "SAME")
    if [n for pair in padding for n in pair] == [n for pair in same for n in pair]:
        return {"auto_pad": "SAME_UPPER"}
    return None
