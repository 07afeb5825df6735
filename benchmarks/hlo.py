"""What a lowered program does, read from its StableHLO: operations, bytes, kernels.

XLA's own `cost_analysis` counts the body of a loop once, however often it runs, and before
compilation it counts every operation's bytes as if nothing were fused. So: FLOPs are those of
matrix products and convolutions (what a share of the chip's peak is of), taps on padding left out,
loops times their trips. Bytes and kernels follow a simple picture of XLA's fusion on GPUs:

- matrix products, convolutions, reductions, scatters and sorts are kernels of their own. They read
  what lies in memory and write their result;
- everything elementwise, and everything that only moves data, is computed where it is read. For
  matrix products and convolutions it must lie in memory first, which is one more kernel;
  reductions compute it as they read;
- reductions of the same arrays share one kernel, and so do results made of the same arrays.
"""

import math
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from jax.extend.mlir.dialects import stablehlo

# Kernels of their own: their inputs must lie in memory, or are computed as they are read.
_NEED_MEMORY = ("dot_general", "convolution", "sort", "scatter", "custom_call", "cholesky", "fft")
_REDUCTIONS = ("reduce", "reduce_window", "select_and_scatter")
_PARTS = ("slice", "dynamic_slice", "gather")  # read no more of an array than they give
_NOTHING = ("constant", "iota")


class Cost(NamedTuple):
    """What a program takes.

    Attributes:
      flops: of matrix products and convolutions; a multiply-add is two.
      bytes: read and written.
      kernels: started one after the other.
    """

    flops: float
    bytes: float
    kernels: float


class Array:
    """A value of the program: in memory, or still to be computed from `sources`, which are."""

    def __init__(self, size: int, sources: "frozenset[Array] | None" = None):
        """Args: bytes; None: it lies in memory."""
        self.size = size
        self.sources = frozenset([self]) if sources is None else sources

    @property
    def in_memory(self) -> bool:
        return self.sources == frozenset([self])


def lower_for_cuda(jitted: Any, *arguments: Any) -> jax.stages.Lowered:
    """The program for an NVIDIA GPU, as a machine that has one would trace and lower it."""
    with mock.patch.object(jax, "default_backend", return_value="gpu"):
        return jitted.trace(*arguments).lower(lowering_platforms=("cuda",))


def cost(lowered: jax.stages.Lowered) -> Cost:
    """The cost of a lowered program, by the picture above.

    Raises:
      ValueError: a loop's trips cannot be told.
    """
    module = lowered.compiler_ir("stablehlo")
    functions = {op.attributes["sym_name"].value: op for op in module.body.operations}
    reckoning = _Reckoning(functions)
    block = functions["main"].regions[0].blocks[0]
    results = reckoning.walk(block, [Array(_size(a.type)) for a in block.arguments], 1)
    reckoning.store(results, 1)
    return Cost(reckoning.flops, reckoning.bytes, reckoning.kernels)


class _Reckoning:
    """The sums of a walk through a program."""

    def __init__(self, functions: dict[str, Any]):
        self.functions = functions
        self.flops = self.bytes = self.kernels = 0
        self.shared = set()  # sources of the reductions so far

    def walk(self, block: Any, arguments: list[Array], times: int) -> list[Array]:
        """Counts a block that runs `times` times; what it returns."""
        known = dict(zip(block.arguments, arguments, strict=True))
        return self.follow(block, known, times)

    def follow(self, block: Any, known: dict[Any, Array], times: int) -> list[Array]:
        """As `walk`, with the values `known` that blocks around it define."""
        for op in block.operations:
            name = op.operation.name.rpartition(".")[2]
            given = [known[operand] for operand in op.operands]
            if name == "return":
                return given
            if name == "call":
                callee = self.functions[op.attributes["callee"].value]
                found = self.walk(callee.regions[0].blocks[0], given, times)
            elif name == "while":
                found = self.loop(op, given, known, times)
            elif name == "case":  # the one branch that is left for this platform
                found = self.follow(op.regions[0].blocks[0], dict(known), times)
            else:
                found = self.operation(name, op, given, times)
            known.update(zip(op.results, found, strict=True))
        raise ValueError("a block without an end")

    def loop(self, op: Any, given: list[Array], known: dict, times: int) -> list[Array]:
        """A while loop: what it carries lies in memory before and after every trip."""
        self.store(given, times)
        body = op.regions[1].blocks[0]
        arguments = [Array(_size(argument.type)) for argument in body.arguments]
        inside = {**known, **dict(zip(body.arguments, arguments, strict=True))}
        trips = times * _trips(op)
        self.store(self.follow(body, inside, trips), trips)
        return [Array(_size(result.type)) for result in op.results]

    def operation(self, name: str, op: Any, given: list[Array], times: int) -> list[Array]:
        """Anything but control flow; its results."""
        sizes = [_size(result.type) for result in op.results]
        if name in _NOTHING:
            return [Array(size, frozenset()) for size in sizes]
        if name == "dynamic_update_slice":  # in place
            self.run(given[1].sources, given[1].size, times)
            return [Array(size) for size in sizes]
        if name in _PARTS and given[0].in_memory:
            indices = frozenset().union(*(array.sources for array in given[1:]))
            return [Array(size, frozenset([Array(size)]) | indices) for size in sizes]
        if name in _NEED_MEMORY:
            self.flops += times * _flops(name, op)
            for array in given:
                self.store([array], times)
            self.run(frozenset(given), sum(sizes), times)
            return [Array(size) for size in sizes]
        sources = frozenset().union(*(array.sources for array in given))
        if name in _REDUCTIONS:
            known = sources in self.shared
            self.run(frozenset() if known else sources, sum(sizes), times, kernel=not known)
            self.shared.add(sources)
            return [Array(size) for size in sizes]
        return [Array(size, sources) for size in sizes]

    def run(self, sources: frozenset, written: int, times: int, kernel: bool = True) -> None:
        """A kernel that reads and writes, or what is added to one that is there already."""
        self.bytes += times * (sum(array.size for array in sources) + written)
        self.kernels += times * kernel

    def store(self, arrays: list[Array], times: int) -> None:
        """Puts arrays into memory; those that come from common large arrays by one kernel."""
        waiting = [array for array in dict.fromkeys(arrays) if array.sources != frozenset([array])]
        groups: list[tuple[set, list]] = []
        for array in waiting:
            sources, members = set(array.sources), [array]
            # Scalars (a norm, a learning rate) are common to all.
            large = {source for source in sources if source.size > 8}
            for group in [g for g in groups if g[0] & large]:
                groups.remove(group)
                sources, members = sources | group[0], members + group[1]
            groups.append((sources, members))
        for sources, members in groups:
            if all(not member.sources for member in members) and len(members) == 1:
                pass  # a constant: written once, before the program runs
            else:
                self.run(frozenset(sources), sum(member.size for member in members), times)
            for member in members:
                member.sources = frozenset([member])


def _size(kind: Any) -> int:
    """Bytes of an MLIR tensor type; 0 of anything else."""
    if not hasattr(kind, "shape"):
        return 0
    element = str(kind.element_type)
    bits = 8 if element == "i1" else int("".join(c for c in element if c.isdigit())[:2] or 32)
    return math.prod(kind.shape) * max(bits // 8, 1)


def _trips(op: Any) -> int:
    """How often a loop that counts from 0 runs."""
    for inner in op.regions[0].blocks[0].operations:
        if inner.operation.name == "stablehlo.compare":
            owner = inner.operands[1].owner
            if getattr(owner, "name", "") == "stablehlo.constant":
                return int(np.asarray(owner.attributes["value"]).reshape(()))
    raise ValueError(f"how often does this loop run?\n{op}")


def _flops(name: str, op: Any) -> int:
    if name == "dot_general":
        numbers = stablehlo.DotDimensionNumbers(op.attributes["dot_dimension_numbers"])
        left = op.operands[0].type.shape
        contracted = math.prod(left[d] for d in numbers.lhs_contracting_dimensions)
        return 2 * math.prod(op.results[0].type.shape) * contracted
    return _convolution_flops(op) if name == "convolution" else 0


def _convolution_flops(op: Any) -> int:
    numbers = stablehlo.ConvDimensionNumbers(op.attributes["dimension_numbers"])
    left, kernel, result = (v.type.shape for v in (*op.operands, op.results[0]))
    count = 2 * kernel[numbers.kernel_input_feature_dimension]
    count *= result[numbers.output_batch_dimension] * result[numbers.output_feature_dimension]
    dimensions = (
        numbers.input_spatial_dimensions,
        numbers.kernel_spatial_dimensions,
        numbers.output_spatial_dimensions,
    )
    places = len(dimensions[0])
    window = [_numbers(op, name, places) for name in ("window_strides", "lhs_dilation")]
    window += [_numbers(op, "rhs_dilation", places), _numbers(op, "padding", places)]
    for axes, stride, spread, gap, pad in zip(zip(*dimensions, strict=True), *window, strict=True):
        sizes = [shape[axis] for shape, axis in zip((left, kernel, result), axes, strict=True)]
        count *= _taps(*sizes, int(stride), int(spread), int(gap), int(np.ravel(pad)[0]))
    return count


def _numbers(op: Any, name: str, places: int) -> np.ndarray:
    if name not in op.attributes:
        return np.zeros((places, 2)) if name == "padding" else np.ones(places)
    return np.asarray(op.attributes[name])


def _taps(size: int, kernel: int, result: int, stride: int, spread: int, gap: int, pad: int) -> int:
    """Pairs of result and kernel place along one axis that meet a pixel, not padding or a hole."""
    at = np.arange(result)[:, None] * stride + np.arange(kernel) * gap - pad
    return int(((at >= 0) & (at <= (size - 1) * spread) & (at % spread == 0)).sum())
