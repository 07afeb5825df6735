"""The ONNX graph while it is written, and the values in it.

Convolutions of ONNX want [B, C, H, W], those of this project are [B, H, W, C]. A `Tensor` says in
which order its axes lie in the graph and so a transposition costs nothing until someone insists on
an order: a chain of convolutions, activations, additions and concatenations needs one at either
end. In the same way an axis that is broadcast stays of size 1 until its copies are needed.
"""

import ast
import re
from typing import Any, NamedTuple

import numpy as np
import onnx

from jaxvision.errors import UserError

NCHW = (0, 3, 1, 2)


class Constant(NamedTuple):
    """A value known at conversion: a numpy array, or keys of jax.random."""

    value: Any

    @property
    def shape(self):
        return self.value.shape


class Tensor(NamedTuple):
    """A value that the graph computes.

    Attributes:
      name: in the graph; '' for one without elements.
      shape: as jax sees it; ints and symbolic dimensions.
      order: the tensor's axis i, in the graph, is jax's axis order[i].
      ones: jax's axes that are of size 1 in the graph, standing for as many copies as `shape` says.
    """

    name: str
    shape: tuple
    order: tuple[int, ...]
    ones: frozenset = frozenset()

    @property
    def stored(self) -> tuple:
        """The shape in the graph."""
        return tuple(1 if axis in self.ones else self.shape[axis] for axis in self.order)

    def place(self, axis: int) -> int:
        """Where the graph has jax's `axis`."""
        return self.order.index(axis)


def is_static(shape) -> bool:
    """Whether every size is a number."""
    return all(isinstance(size, (int, np.integer)) for size in shape)


class Graph:
    """Nodes and initializers, each kept once.

    Attributes:
      nodes: onnx.NodeProto, in an order in which they can run.
      initializers: {name: numpy array}.
      convolutions: what a convolution's output was made from, for layers.py to fold into.
      callers: the equations whose jaxprs are being written, outermost first.
      joined: of a concatenation along channels, the names and channels of its parts.
    """

    def __init__(self, input_name: str, input_shape: tuple):
        self.nodes, self.initializers = [], {}
        self.convolutions, self.joined, self.callers = {}, {}, []
        self._known, self._makers, self._reshaped, self._counts = {}, {}, {}, {}
        self._input_name, self._symbols = input_name, {}
        for axis, size in enumerate(input_shape):
            if not is_static([size]):
                factor, symbol = re.fullmatch(r"(?:(\d+)\*)?(\w+)", str(size)).groups()
                self._symbols.setdefault(symbol, (axis, int(factor or 1)))

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        """The output of a node; of the one that is there already where there is one like it."""
        key = (kind, inputs, repr(sorted(attributes.items())))
        if key not in self._known:
            self._known[key] = self._fresh(kind.lower())
            node = onnx.helper.make_node(kind, inputs, [self._known[key]], **attributes)
            self.nodes.append(node)
            self._makers[self._known[key]] = node
        return self._known[key]

    def made_by(self, x):
        """The node that made a tensor; None for inputs and constants."""
        return self._makers.get(x.name) if isinstance(x, Tensor) else None

    def constant(self, value) -> str:
        """The name of an initializer."""
        value = np.asarray(value, order="C")
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = self._fresh("constant")
            self.initializers[self._known[key]] = value
        return self._known[key]

    def integers(self, *values: int) -> str:
        """An int64 vector."""
        return self.constant(np.array(values, np.int64))

    def _fresh(self, prefix):
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}_{self._counts[prefix]}"

    def sizes(self, shape) -> str:
        """An int64 vector of sizes, computed where some are symbolic."""
        if is_static(shape):
            return self.integers(*shape)
        return self.op("Concat", *(self._size(size) for size in shape), axis=0)

    def _size(self, size):
        if is_static([size]):
            return self.integers(size)
        # A symbolic dimension prints as Python; it has no public parts.
        return self._expression(ast.parse(str(size), mode="eval").body)

    def _expression(self, node):
        """int64 [1]."""
        match node:
            case ast.Constant(value=value):
                return self.integers(value)
            case ast.Name(id=symbol):
                axis, factor = self._symbols[symbol]
                size = self.op("Shape", self._input_name, start=axis, end=axis + 1)
                return self.op("Div", size, self.integers(factor)) if factor > 1 else size
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.op("Neg", self._expression(operand))
            case ast.BinOp(left=left, op=operator, right=right):
                kind = {"Add": "Add", "Sub": "Sub", "Mult": "Mul", "Pow": "Pow"}
                operands = (self._expression(left), self._expression(right))
                return self.op(kind[type(operator).__name__], *operands)
            case ast.Call(func=ast.Name(id=name), args=args):
                a, b = (self._expression(arg) for arg in args)
                if name == "floordiv":  # ONNX' Div rounds to zero
                    return self.op("Div", self.op("Sub", a, self.op("Mod", a, b)), b)
                return self.op({"mod": "Mod", "max": "Max", "min": "Min"}[name], a, b)
        raise UserError(f"cannot compute the size {ast.unparse(node)} in ONNX: give a fixed size")

    def tensor(self, x) -> Tensor:
        """A constant as an initializer; a tensor as it is."""
        if isinstance(x, Tensor):
            return x
        return Tensor(self.constant(x.value), x.shape, tuple(range(x.value.ndim)))

    def expanded(self, x) -> Tensor:
        """With every axis at its full size."""
        x = self.tensor(x)
        if not x.ones:
            return x
        # Tile, as Expand makes no axis of size 0.
        repeats = self.sizes([x.shape[axis] if axis in x.ones else 1 for axis in x.order])
        return x._replace(name=self.op("Tile", x.name, repeats), ones=frozenset())

    def arranged(self, x, order=None) -> str:
        """The name of x with its axes in `order`, jax's by default; scalars have none."""
        order = tuple(range(len(x.shape))) if order is None else order
        if not x.shape:
            return self.tensor(x).name
        if isinstance(x, Constant):
            return self.constant(x.value.transpose(order))
        if x.order == order:
            return x.name
        target = Tensor(x.name, x.shape, order, x.ones)
        long = [axis for axis in x.order if axis not in x.ones and not is_one(x.shape[axis])]
        if long == [axis for axis in order if axis in long]:
            return self.reshaped(x.name, x.stored, target.stored)
        return self.op("Transpose", x.name, perm=[x.place(axis) for axis in order])

    def full(self, x) -> str:
        """The name of x as jax has it."""
        return self.arranged(x if isinstance(x, Constant) else self.expanded(x))

    def reshaped(self, name: str, before: tuple, after: tuple) -> str:
        """A Reshape of what is stored, from the start of a chain of them."""
        name, before = self._reshaped.get(name, (name, before))
        if before == after:
            return name
        kept = [
            0 if i < len(before) and not is_static([size]) and size == before[i] else size
            for i, size in enumerate(after)
        ]
        unknown = [i for i, size in enumerate(kept) if not is_static([size])]
        if len(unknown) == 1:
            kept[unknown[0]] = -1
        result = self.op("Reshape", name, self.sizes(kept))
        self._reshaped[result] = (name, before)
        return result

    def common_order(self, operands) -> tuple[int, ...]:
        """The order of the largest operand; of equal ones, one that convolutions left."""
        tensors = [x for x in operands if isinstance(x, Tensor) and x.shape]
        if not tensors:
            return tuple(range(max(len(x.shape) for x in operands)))

        def rank(x):
            return (sum(not is_one(n) for n in x.stored), x.order != tuple(range(len(x.shape))))

        return max(tensors, key=rank).order

    def elementwise(self, kind: str, shape: tuple, *operands, **attributes) -> Tensor:
        """A node on operands that ONNX broadcasts: of `shape`, or 1 along axes, or scalars."""
        order = self.common_order(operands)
        name = self.op(kind, *(self.arranged(x, order) for x in operands), **attributes)
        kept = [self.tensor(x) for x in operands if x.shape]
        ones = frozenset(
            axis
            for axis, size in enumerate(shape)
            if not is_one(size) and all(is_one(x.shape[axis]) or axis in x.ones for x in kept)
        )
        return Tensor(name, shape, order, ones)


def is_one(size) -> bool:
    """Whether a size is the number 1."""
    return is_static([size]) and size == 1


def onnx_type(dtype) -> int:
    """ONNX' number for a type; UserError for one that it has not."""
    try:
        return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"ONNX has no type {dtype}: export a model of float32") from error
