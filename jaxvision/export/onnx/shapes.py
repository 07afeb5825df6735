"""What moves, repeats and cuts values without computing; most of it leaves no node behind."""

import math

import numpy as np

from jaxvision.export.onnx.graph import (
    NCHW,
    Constant,
    Graph,
    Tensor,
    is_one,
    is_static,
    onnx_type,
)

BACKWARDS = np.iinfo(np.int64).min  # the end of a slice that runs to the first element


def broadcast(graph: Graph, x, shape, axes):
    """Axis i of x becomes axis axes[i] of `shape`; the others are copies."""
    if isinstance(x, Constant) and is_static(shape):
        sizes = [1] * len(shape)
        for axis, size in zip(axes, x.shape, strict=True):
            sizes[axis] = size
        return Constant(np.broadcast_to(x.value.reshape(sizes), shape))
    x = graph.tensor(x)
    order = [axes[axis] for axis in x.order]
    for axis in range(len(shape)):  # a new one behind the one that it follows
        if axis not in axes:
            order.insert(order.index(axis - 1) + 1 if axis else 0, axis)
    ones = {axes[axis] for axis in x.ones} | {
        axis for axis in range(len(shape)) if axis not in axes
    }
    ones |= {axes[i] for i, size in enumerate(x.shape) if is_one(size)}
    ones = frozenset(axis for axis in ones if not is_one(shape[axis]))
    wide = Tensor("", shape, tuple(order), ones)
    return wide._replace(name=graph.reshaped(x.name, x.stored, wide.stored))


def reshape(graph: Graph, x, shape):
    """Keeps the order of axes where those that are joined or parted lie side by side."""
    x = graph.tensor(x)
    groups = _groups(x.shape, shape)
    for old, _ in groups:
        places = [x.place(axis) for axis in old]
        if places != list(range(places[0], places[0] + len(places))):
            x = graph.expanded(x)
            x = Tensor(graph.arranged(x), x.shape, tuple(range(len(x.shape))))
            break
    repeats, ones = {}, []
    for old, new in groups:
        lazy = [axis for axis in old if axis in x.ones]
        if not lazy:
            continue
        if all(axis in x.ones or is_one(x.shape[axis]) for axis in old):
            ones += [axis for axis in new if not is_one(shape[axis])]
        elif _is_repeat(x, old, new, lazy, shape):
            repeats[new[0]] = x.shape[lazy[0]]
        else:
            return reshape(graph, graph.expanded(x), shape)
    by_place = sorted(groups, key=lambda group: x.place(group[0][0]))
    order = tuple(axis for _, new in by_place for axis in new)
    before = [size // repeats.get(axis, 1) for axis, size in enumerate(shape)]
    result = Tensor("", tuple(before), order, frozenset(ones))
    result = result._replace(name=graph.reshaped(x.name, x.stored, result.stored))
    if repeats:
        result = _nearest(graph, result, repeats)
    return result._replace(shape=tuple(shape))


def _groups(before, after):
    """The axes of either shape, parted where the numbers of elements up to there agree."""
    groups, i, j = [], 0, 0
    ends = sorted(
        ((a, b) for a in range(1, len(before) + 1) for b in range(1, len(after) + 1)), key=sum
    )
    for a, b in ends:
        if a > i and b > j and math.prod(before[:a]) == math.prod(after[:b]):
            groups.append([list(range(i, a)), list(range(j, b))])
            i, j = a, b
    if not groups:
        return [[list(range(len(before))), list(range(len(after)))]]
    groups[-1][0] += range(i, len(before))  # only ones are left
    groups[-1][1] += range(j, len(after))
    return groups


def _is_repeat(x, old, new, lazy, shape):
    """Whether every element of one axis is repeated a fixed number of times."""
    real = [axis for axis in old if axis not in lazy and not is_one(x.shape[axis])]
    return (
        len(real) == len(lazy) == len(new) == 1
        and real[0] < lazy[0]
        and is_static([x.shape[lazy[0]]])
        and len(shape) == 4
    )


def _nearest(graph, x, repeats):
    scales = np.array([repeats.get(axis, 1) for axis in x.order], np.float32)
    options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    options["nearest_mode"] = "floor"
    name = graph.op("Resize", x.name, "", graph.constant(scales), **options)
    return x._replace(name=name)


def transpose(x: Tensor, permutation):
    """Another order of jax's axes; the graph's stay."""
    shape = tuple(x.shape[axis] for axis in permutation)
    order = tuple(permutation.index(axis) for axis in x.order)
    return Tensor(x.name, shape, order, frozenset(permutation.index(axis) for axis in x.ones))


def window(graph: Graph, x, starts, ends, strides=None):
    """x[starts:ends:strides], one of each for every axis."""
    x = graph.tensor(x)
    strides = strides or [1] * len(x.shape)
    shape = tuple(
        -((start - end) // stride) for start, end, stride in zip(starts, ends, strides, strict=True)
    )
    cut = [axis for axis in x.order if shape[axis] != x.shape[axis] and axis not in x.ones]
    ones = frozenset(axis for axis in x.ones if not is_one(shape[axis]))
    name = x.name
    if cut:
        places = graph.integers(*(x.place(axis) for axis in cut))
        steps = graph.integers(*(strides[axis] for axis in cut))
        corners = (graph.sizes([at[axis] for axis in cut]) for at in (starts, ends))
        name = graph.op("Slice", x.name, *corners, places, steps)
    return Tensor(name, shape, x.order, ones)


def reverse(graph: Graph, x, axes):
    """x backwards along axes."""
    x = graph.tensor(x)
    places = [x.place(axis) for axis in axes if axis not in x.ones]
    vectors = (graph.integers(*[n] * len(places)) for n in (-1, BACKWARDS))
    steps = graph.integers(*[-1] * len(places))
    return x._replace(name=graph.op("Slice", x.name, *vectors, graph.integers(*places), steps))


def pad(graph: Graph, x, value, config, shape):
    """`lax.pad` without padding between elements."""
    x = graph.expanded(x)
    widths = graph.sizes([config[axis][end] for end in (0, 1) for axis in x.order])
    return x._replace(name=graph.op("Pad", x.name, widths, graph.tensor(value).name), shape=shape)


def concatenate(graph: Graph, parts, axis, shape):
    """Joined along an axis, in the order of the largest part."""
    parts = [part for part in parts if not any(is_static([n]) and n == 0 for n in part.shape)]
    # A small picture beside a map that convolutions left is cheaper to turn than the map.
    order = graph.common_order(parts)
    if any(isinstance(part, Tensor) and part.order == NCHW for part in parts):
        order = NCHW
    names = []
    for part in parts:
        part = part if isinstance(part, Constant) else graph.expanded(part)
        names.append(graph.arranged(part, order))
    name = graph.op("Concat", *names, axis=order.index(axis)) if len(names) > 1 else names[0]
    if order == NCHW and axis == 3 and len(names) > 1:
        graph.joined[name] = tuple(zip(names, (part.shape[axis] for part in parts), strict=True))
    return Tensor(name, shape, order)


def stack(graph: Graph, parts, axis, shape):
    """Laid side by side along a new axis."""
    single = (*shape[:axis], 1, *shape[axis + 1 :])
    axes = [i for i in range(len(shape)) if i != axis]
    return concatenate(graph, [broadcast(graph, x, single, axes) for x in parts], axis, shape)


def gather(graph: Graph, eqn, x, indices):
    """A window known at conversion, a choice along one axis, or a window for each of a batch.

    None for what is none of these.
    """
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    shape, axes = eqn.outvars[0].aval.shape, [int(axis) for axis in numbers.start_index_map]
    if numbers.operand_batching_dims:
        return _windows(graph, graph.tensor(x), indices, numbers, axes, sizes, shape)
    if not isinstance(indices, Constant):
        return None
    if indices.value.size == len(axes):
        starts = [0] * len(x.shape)
        for axis, start in zip(axes, indices.value.ravel().tolist(), strict=True):
            starts[axis] = start
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        return reshape(graph, window(graph, x, starts, ends), shape)
    if len(axes) == 1 and tuple(numbers.collapsed_slice_dims) == (axes[0],):
        chosen = graph.constant(indices.value[..., 0].astype(np.int64))
        name = graph.op("Gather", graph.full(x), chosen, axis=axes[0])
        return Tensor(name, shape, tuple(range(len(shape))))
    return None


def _windows(graph, x, indices, numbers, axes, sizes, shape):
    """A window cut out of each element of a batch, moved inside where it would reach beyond."""
    batch = len(numbers.operand_batching_dims)
    both = (numbers.operand_batching_dims, numbers.start_indices_batching_dims)
    inner = [axis for axis in axes if sizes[axis] != x.shape[axis]]
    known = (
        all(tuple(map(int, dims)) == tuple(range(batch)) for dims in both)
        and not numbers.collapsed_slice_dims
        and inner == list(range(batch, batch + len(inner)))
        and len(indices.shape) == batch + 1
        and is_static([*(x.shape[axis] for axis in inner), *(sizes[axis] for axis in inner)])
    )
    if not known:
        return None
    columns = graph.integers(*(axes.index(axis) for axis in inner))
    starts = graph.op("Gather", graph.full(indices), columns, axis=batch)
    starts = graph.op("Cast", starts, to=onnx_type(np.int64))
    last = graph.integers(*(x.shape[axis] - sizes[axis] for axis in inner))
    starts = graph.op("Max", graph.op("Min", starts, last), graph.integers(*[0] * len(inner)))
    count, lead = len(inner), indices.shape[:-1]
    starts = graph.reshaped(starts, (*lead, count), (*lead, *[1] * count, count))
    grid = np.stack(np.meshgrid(*(np.arange(sizes[a]) for a in inner), indexing="ij"), -1)
    at = graph.op("Add", starts, graph.constant(grid[(None,) * batch]))
    name = graph.op("GatherND", graph.full(x), at, batch_dims=batch)
    return Tensor(name, shape, tuple(range(len(shape))))


def iota(graph: Graph, dtype, shape, axis):
    """0, 1, ... along an axis whose size is symbolic."""
    zero, one = (graph.constant(np.int64(n)) for n in (0, 1))
    end = graph.op("Squeeze", graph.sizes([shape[axis]]), graph.integers(0))
    name = graph.op("Cast", graph.op("Range", zero, end, one), to=onnx_type(dtype))
    return broadcast(graph, Tensor(name, (shape[axis],), (0,)), shape, (axis,))
