"""A function of jax to an ONNX model: its jaxpr, primitive by primitive."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax import export
from jax.extend import core
from jax.interpreters import partial_eval

import jaxvision
from jaxvision.errors import UserError
from jaxvision.export.onnx import shapes
from jaxvision.export.onnx.graph import Constant, Graph, Tensor, is_static, onnx_type
from jaxvision.export.onnx.rules import RULES

OPSET = 18
IR_VERSION = 9  # goes with the opset
# Primitives that call a jaxpr, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
}


def to_onnx(
    function: Callable[[Any, jax.Array], dict[str, jax.Array]],
    variables: Any,
    input_shape: tuple[int | str, ...],
    *,
    input_dtype: Any = np.uint8,
    input_name: str = "images",
    output_names: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    constraints: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """The model that computes `function(variables, inputs)`, with the variables inside.

    Args:
      function: (variables, inputs) -> {name: array}.
      variables: its weights.
      input_shape: of the inputs; a string is a size that is open, 'b', or a multiple, '32*h'.
      input_dtype: of the inputs.
      input_name: of the inputs, in the model.
      output_names: {name in the function's result: name in the model}; those left out keep theirs.
      metadata: becomes the model's `metadata_props`.
      constraints: on the open sizes, such as 'h >= 3'.

    Raises:
      UserError: the function uses what has no rule; the message says what and where.
    """
    text = ", ".join(map(str, input_shape))
    shape = export.symbolic_shape(text, constraints=constraints)
    argument = jax.ShapeDtypeStruct(shape, input_dtype)
    traced, result = jax.make_jaxpr(function, return_shape=True)(variables, argument)
    jaxpr, used = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    graph = Graph(input_name, shape)
    weights = [Constant(np.asarray(leaf)) for leaf in jax.tree.leaves(variables)]
    inputs = [*weights, Tensor(input_name, shape, tuple(range(len(shape))))]
    inputs = [x for x, is_used in zip(inputs, used, strict=True) if is_used]
    outputs = _run(graph, jaxpr, traced.consts, inputs)
    names = [(output_names or {}).get(name, name) for name in sorted(result)]
    for name, value in zip(names, outputs, strict=True):
        graph.nodes.append(onnx.helper.make_node("Identity", [graph.full(value)], [name]))
    described = [_describe(input_name, shape, input_dtype)]
    described += [
        _describe(name, var.aval.shape, var.aval.dtype)
        for name, var in zip(names, jaxpr.outvars, strict=True)
    ]
    return _model(graph, described[:1], described[1:], metadata or {})


def _describe(name, shape, dtype):
    # Open sizes are named; a size computed from them gets its formula as a name.
    sizes = [size if is_static([size]) else str(size) for size in shape]
    return onnx.helper.make_tensor_value_info(name, onnx_type(dtype), sizes)


def _model(graph, inputs, outputs, metadata):
    needed, nodes = {value.name for value in outputs}, []
    for node in reversed(graph.nodes):
        if needed & set(node.output):
            nodes.insert(0, node)
            needed |= set(node.input)
    initializers = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        for name, value in graph.initializers.items()
        if name in needed
    ]
    onnx_graph = onnx.helper.make_graph(nodes, "jaxvision", inputs, outputs, initializers)
    model = onnx.helper.make_model(
        onnx_graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="jaxvision",
    )
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def _run(graph, jaxpr, consts, inputs, caller=None):
    """The values of the outputs of a jaxpr, which the equation `caller` called."""
    graph.callers.append(caller)
    values = dict(zip(jaxpr.constvars, (Constant(_known(c)) for c in consts), strict=True))
    values |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(var):
        if isinstance(var, core.Literal):
            return Constant(np.asarray(var.val, var.aval.dtype))
        return values[var]

    for eqn in jaxpr.eqns:
        outputs = _equation(graph, eqn, [read(var) for var in eqn.invars])
        values |= dict(zip(eqn.outvars, outputs, strict=True))
    graph.callers.pop()
    return [read(var) for var in jaxpr.outvars]


def _equation(graph, eqn, inputs):
    name, params = eqn.primitive.name, eqn.params
    if name in CALLS:
        called = params[CALLS[name]]
        if isinstance(called, core.ClosedJaxpr):
            return _run(graph, called.jaxpr, called.consts, inputs, eqn)
        return _run(graph, called, [], inputs, eqn)
    if name == "platform_index":  # the form without the rewrites for one platform
        return [Constant(np.int32(params["platforms"].index(None)))]
    if name == "cond" and isinstance(inputs[0], Constant):
        branch = params["branches"][int(inputs[0].value)]
        return _run(graph, branch.jaxpr, branch.consts, inputs[1:], eqn)
    shapes_out = [var.aval.shape for var in eqn.outvars]
    known = all(isinstance(x, Constant) for x in inputs) and all(map(is_static, shapes_out))
    if known and name != "dim_as_value":
        return _compute(eqn, inputs)
    if name == "scan":
        return _scan(graph, eqn, inputs)
    if all(any(is_static([size]) and size == 0 for size in shape) for shape in shapes_out):
        return [Tensor("", shape, tuple(range(len(shape)))) for shape in shapes_out]
    if name not in RULES:
        raise UserError(f"cannot write {name!r} as ONNX: no rule for it in {_where(graph, eqn)}")
    outputs = RULES[name](graph, eqn, *inputs)
    if outputs is None:
        given = ", ".join(str(var.aval) for var in eqn.invars)
        raise UserError(f"cannot write this {name!r} as ONNX, of {given}, in {_where(graph, eqn)}")
    return outputs if isinstance(outputs, list) else [outputs]


def _compute(eqn, inputs):
    """Constant folding."""
    if eqn.primitive.name == "broadcast_in_dim":  # without making the copies
        shape, axes = eqn.outvars[0].aval.shape, eqn.params["broadcast_dimensions"]
        return [shapes.broadcast(None, inputs[0], shape, axes)]
    outputs = eqn.primitive.bind(*(jnp.asarray(x.value) for x in inputs), **eqn.params)
    outputs = outputs if eqn.primitive.multiple_results else [outputs]
    return [Constant(_known(output)) for output in outputs]


def _known(value):
    """On the host, but for keys, of which numpy has no type."""
    is_key = jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)
    return value if is_key else np.asarray(value)


def _scan(graph, eqn, inputs):
    """Unrolled: ONNX' own loops are slow, and there are few steps."""
    params, body = eqn.params, eqn.params["jaxpr"]
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    consts, carry, sequences = inputs[:first], inputs[first:last], inputs[last:]
    steps = range(params["length"])
    rows = {}
    for step in reversed(steps) if params["reverse"] else steps:
        elements = [_element(graph, x, step) for x in sequences]
        outputs = _run(graph, body.jaxpr, body.consts, [*consts, *carry, *elements], eqn)
        carry, rows[step] = outputs[: len(carry)], outputs[len(carry) :]
    stacked = []
    for i, var in enumerate(eqn.outvars[len(carry) :]):
        column = [rows[step][i] for step in steps]
        if all(isinstance(x, Constant) for x in column):
            stacked.append(Constant(_known(jnp.stack([x.value for x in column]))))
        else:
            stacked.append(shapes.stack(graph, column, 0, var.aval.shape))
    return [*carry, *stacked]


def _element(graph, x, step):
    if isinstance(x, Constant):
        return Constant(x.value[step])
    starts = [step] + [0] * (len(x.shape) - 1)
    row = shapes.window(graph, x, starts, [step + 1, *x.shape[1:]])
    return shapes.reshape(graph, row, x.shape[1:])


def _where(graph, eqn):
    """The innermost line of the source that is neither jax's nor flax's."""
    libraries = [str(Path(module.__file__).parent) for module in (jax, flax)]
    root = str(Path(jaxvision.__file__).parent.parent)
    # What is inside a function that jax has traced before does not know who calls it now.
    for called in (eqn, *filter(None, reversed(graph.callers))):
        traceback = called.source_info.traceback
        for frame in traceback.frames if traceback else ():
            if not frame.file_name.startswith((*libraries, "<frozen")):
                return f"{frame.file_name.removeprefix(root + '/')}:{frame.line_num}"
    return "jax itself"
