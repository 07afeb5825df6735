"""What each primitive of jax becomes: {name: (graph, eqn, *inputs) -> output or outputs}.

A rule gives None for a form of its primitive that it cannot write. Inputs that are all known never
come here: convert.py computes those.
"""

import functools

import numpy as np

from jaxvision.export.onnx import layers, shapes
from jaxvision.export.onnx.graph import Constant, Graph, Tensor, onnx_type

# Primitives that are one elementwise node.
NODES = {
    "abs": "Abs",
    "add": "Add",
    "and": "And",
    "ceil": "Ceil",
    "copy": "Identity",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "round": "Round",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "stop_gradient": "Identity",
    "sub": "Sub",
    "tanh": "Tanh",
}


def node(kind, graph: Graph, eqn, *inputs):
    """One node; inside the convolution before it where it can be."""
    if kind in ("Add", "Mul") and isinstance(inputs[0], Constant):
        inputs = inputs[::-1]
    if kind in ("Add", "Sub", "Mul", "Div"):
        result = layers.folded(graph, kind, *inputs)
        if result is not None:
            return result
    return graph.elementwise(kind, shape_of(eqn), *inputs)


def shape_of(eqn):
    """The shape of the first output."""
    return eqn.outvars[0].aval.shape


def dtype_of(eqn):
    """The type of the first output."""
    return eqn.outvars[0].aval.dtype


def is_scalar(x, value=None):
    """Whether x is a known number, or this one."""
    known = isinstance(x, Constant) and x.value.size == 1
    return known and (value is None or x.value.item() == value)


def maximum(graph, eqn, x, y):
    """ReLU where the other one is 0."""
    x, y = (y, x) if isinstance(x, Constant) else (x, y)
    if is_scalar(y, 0) and dtype_of(eqn) == np.float32:
        return graph.elementwise("Relu", shape_of(eqn), x)
    return graph.elementwise("Max", shape_of(eqn), x, y)


def minimum(graph, eqn, x, y):
    """ReLU6 as one Clip."""
    x, y = (y, x) if isinstance(x, Constant) else (x, y)
    result = graph.made_by(x)
    if result is not None and result.op_type == "Relu" and is_scalar(y):
        ends = (graph.constant(np.float32(n)) for n in (0, y.value.item()))
        return x._replace(name=graph.op("Clip", result.input[0], *ends))
    return graph.elementwise("Min", shape_of(eqn), x, y)


def clamp(graph, eqn, low, x, high):
    """Between two numbers, or two arrays."""
    raised = graph.elementwise("Max", shape_of(eqn), x, low)
    return graph.elementwise("Min", shape_of(eqn), raised, high)


def not_equal(graph, eqn, x, y):
    """ONNX has only its contrary."""
    equal = graph.elementwise("Equal", shape_of(eqn), x, y)
    return graph.elementwise("Not", shape_of(eqn), equal)


def remainder(graph, eqn, x, y):
    """With the sign of x."""
    return graph.elementwise("Mod", shape_of(eqn), x, y, fmod=1)


def power(graph, eqn, x):
    """To a fixed whole exponent."""
    exponent = eqn.params.get("y", 2)
    if exponent == 2:
        return graph.elementwise("Mul", shape_of(eqn), x, x)
    return graph.elementwise("Pow", shape_of(eqn), x, Constant(np.array(exponent, dtype_of(eqn))))


def rsqrt(graph, eqn, x):
    """1 / sqrt(x)."""
    return graph.elementwise("Reciprocal", shape_of(eqn), node("Sqrt", graph, eqn, x))


def log1p(graph, eqn, x):
    """log(1 + x)."""
    return graph.elementwise("Log", shape_of(eqn), _plus_one(graph, eqn, x, 1))


def expm1(graph, eqn, x):
    """exp(x) - 1."""
    return _plus_one(graph, eqn, node("Exp", graph, eqn, x), -1)


def _plus_one(graph, eqn, x, one):
    return graph.elementwise("Add", shape_of(eqn), x, Constant(np.array(one, dtype_of(eqn))))


def cast(graph, eqn, x):
    """To another type; a float loses its fraction, as in jax."""
    if eqn.invars[0].aval.dtype == dtype_of(eqn):
        return x
    return graph.elementwise("Cast", shape_of(eqn), x, to=onnx_type(dtype_of(eqn)))


def select(graph, eqn, which, *cases):
    """One of two, by a bool."""
    if len(cases) != 2 or eqn.invars[0].aval.dtype != bool:
        return None
    return graph.elementwise("Where", shape_of(eqn), which, *cases[::-1])


def reduction(kind, graph, eqn, x):
    """Over some axes; the others keep their order."""
    x, axes = graph.tensor(x), eqn.params["axes"]
    if any(axis in x.ones for axis in axes):
        x = graph.expanded(x)
    left = [axis for axis in range(len(x.shape)) if axis not in axes]
    places = graph.integers(*(x.place(axis) for axis in axes))
    name = graph.op(kind, x.name, places, keepdims=0)
    order = tuple(left.index(axis) for axis in x.order if axis in left)
    ones = frozenset(left.index(axis) for axis in x.ones)
    return Tensor(name, shape_of(eqn), order, ones)


def argmax(graph, eqn, x):
    """Position of the first of the largest."""
    x, (axis,) = graph.expanded(x), eqn.params["axes"]
    name = graph.op("ArgMax", x.name, axis=x.place(axis), keepdims=0)
    order = tuple(a - (a > axis) for a in x.order if a != axis)
    return Tensor(graph.op("Cast", name, to=onnx_type(dtype_of(eqn))), shape_of(eqn), order)


def cumulative_sum(graph, eqn, x):
    """Along one axis."""
    x = graph.expanded(x)
    axis = graph.constant(np.int64(x.place(eqn.params["axis"])))
    return x._replace(name=graph.op("CumSum", x.name, axis, reverse=int(eqn.params["reverse"])))


def dot_general(graph, eqn, x, y):
    """A matrix product: axes of the batch, of x alone, and of y alone, in this order."""
    (x_sum, y_sum), (x_batch, y_batch) = eqn.params["dimension_numbers"]
    x_free = _others(x.shape, (*x_batch, *x_sum))
    y_free = _others(y.shape, (*y_batch, *y_sum))
    shape, order = shape_of(eqn), tuple(range(len(shape_of(eqn))))
    x_names = graph.arranged(_whole(graph, x), (*x_batch, *x_free, *x_sum))
    y_names = graph.arranged(_whole(graph, y), (*y_batch, *y_sum, *y_free))
    if not x_batch and len(x_sum) == 1 and len(y_free) == 1:  # x may have any number of axes
        return Tensor(graph.op("MatMul", x_names, y_names), shape, order)

    def joined(name, operand, *groups):
        sizes = [[operand.shape[axis] for axis in axes] for axes in groups]
        before = tuple(size for group in sizes for size in group)
        products = tuple(np.prod(group, initial=1, dtype=object) for group in sizes[1:])
        return graph.reshaped(name, before, (*sizes[0], *products)), (*sizes[0], *products)

    left, (*batch, rows, _) = joined(x_names, x, x_batch, x_free, x_sum)
    right, (*_, columns) = joined(y_names, y, y_batch, y_sum, y_free)
    name = graph.op("MatMul", left, right)
    return Tensor(graph.reshaped(name, (*batch, rows, columns), shape), shape, order)


def _others(shape, axes):
    return tuple(axis for axis in range(len(shape)) if axis not in axes)


def _whole(graph, x):
    return x if isinstance(x, Constant) else graph.expanded(x)


def split(graph, eqn, x):
    """Into pieces along one axis."""
    axis, start, pieces = eqn.params["axis"], 0, []
    for size in eqn.params["sizes"]:
        starts, ends = [0] * len(x.shape), list(x.shape)
        starts[axis], ends[axis] = start, start + size
        pieces.append(shapes.window(graph, x, starts, ends))
        start += size
    return pieces


def dimension(graph, eqn):
    """The value of a symbolic size."""
    name = graph.op("Squeeze", graph.sizes([eqn.params["dim"]]), graph.integers(0))
    return Tensor(graph.op("Cast", name, to=onnx_type(dtype_of(eqn))), (), ())


def pad(graph, eqn, x, value):
    """Around the elements, not between them."""
    config = eqn.params["padding_config"]
    if any(between != 0 for _, _, between in config):
        return None
    return shapes.pad(graph, x, value, config, shape_of(eqn))


def reshape(graph, eqn, x):
    """To the shape of the output."""
    return shapes.reshape(graph, x, shape_of(eqn))


RULES = {
    **{name: functools.partial(node, kind) for name, kind in NODES.items()},
    "max": maximum,
    "min": minimum,
    "clamp": clamp,
    "ne": not_equal,
    "rem": remainder,
    "integer_pow": power,
    "square": power,
    "rsqrt": rsqrt,
    "log1p": log1p,
    "expm1": expm1,
    "convert_element_type": cast,
    "select_n": select,
    "reduce_sum": functools.partial(reduction, "ReduceSum"),
    "reduce_max": functools.partial(reduction, "ReduceMax"),
    "reduce_min": functools.partial(reduction, "ReduceMin"),
    "argmax": argmax,
    "cumsum": cumulative_sum,
    "dot_general": dot_general,
    "conv_general_dilated": layers.convolution,
    "reduce_window_max": layers.max_pool,
    "broadcast_in_dim": lambda graph, eqn, x: shapes.broadcast(
        graph, x, shape_of(eqn), eqn.params["broadcast_dimensions"]
    ),
    "reshape": reshape,
    "squeeze": reshape,
    "expand_dims": reshape,
    "transpose": lambda graph, eqn, x: shapes.transpose(x, tuple(eqn.params["permutation"])),
    "slice": lambda graph, eqn, x: shapes.window(
        graph, x, *(eqn.params[name] for name in ("start_indices", "limit_indices", "strides"))
    ),
    "rev": lambda graph, eqn, x: shapes.reverse(graph, x, eqn.params["dimensions"]),
    "pad": pad,
    "concatenate": lambda graph, eqn, *parts: shapes.concatenate(
        graph, parts, eqn.params["dimension"], shape_of(eqn)
    ),
    "stack": lambda graph, eqn, *parts: shapes.stack(
        graph, parts, eqn.params["axis"], shape_of(eqn)
    ),
    "split": split,
    "gather": shapes.gather,
    "iota": lambda graph, eqn: shapes.iota(
        graph, dtype_of(eqn), shape_of(eqn), eqn.params["dimension"]
    ),
    "dim_as_value": dimension,
}
