"""How a model keeps its weights: as float16 where nothing is lost, or in a file beside it.

A program that loads the model brings them into shape once: a Cast, and of a convolution with a
batch norm in it a Transpose and a Mul, of what does not depend on the input, are computed as the
model is loaded, by onnxruntime and onnxruntime-web alike.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto

from jaxvision.export.onnx.graph import Scaled

SMALLEST = 64  # numbers; of fewer, the nodes would take more room than they save


def compact(
    model: onnx.ModelProto, scaled_kernels: dict[str, Scaled], beside: tuple[str, bytes] | None
) -> onnx.ModelProto:
    """The model with its float32 initializers kept in half the room, or in another file.

    Args:
      model: whose initializers are as they are computed with.
      scaled_kernels: what kernels were scaled of, by initializer.
      beside: name and bytes of a safetensors file; arrays that it does not hold stay in the model.
    """
    files = _arrays(*beside) if beside else {}
    initializers, nodes = [], []
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < SMALLEST:
            initializers.append(tensor)
            continue
        scaled = scaled_kernels.get(tensor.name)
        if scaled is not None and _kept(scaled.kernel.transpose(2, 3, 1, 0), files) is not None:
            _from_file(tensor.name, scaled, files, initializers, nodes)
        elif scaled is None and _kept(value, files) is not None:
            kept = _kept(value, files)
            kept.name = f"{tensor.name}_kept"
            _chain(
                tensor.name, kept, [("Cast", (), {"to": TensorProto.FLOAT})], initializers, nodes
            )
        else:
            _halved(tensor, value, scaled, initializers, nodes)
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)
    computed = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *computed])
    return model


def _halved(tensor, value, scaled, initializers, nodes):
    """Half precision of the trained array where that is exact; else as it was."""
    trained = value if scaled is None else scaled.kernel[:, scaled.inputs]
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(trained.astype(np.float16))
    if not np.array_equal(half.astype(np.float32), trained):
        initializers.append(tensor)
        return
    kept = onnx.numpy_helper.from_array(half, f"{tensor.name}_kept")
    steps = [("Cast", (), {"to": TensorProto.FLOAT}), *_times(scaled)]
    _chain(tensor.name, kept, steps, initializers, nodes)


def _from_file(name, scaled, files, initializers, nodes):
    """A kernel [kh, kw, I, O] of the file becomes the part of [O, I, kh, kw] that is wanted."""
    kept = _kept(scaled.kernel.transpose(2, 3, 1, 0), files)
    kept.name = f"{name}_kept"
    steps = [("Cast", (), {"to": TensorProto.FLOAT}), ("Transpose", (), {"perm": (3, 2, 0, 1)})]
    start, stop, _ = scaled.inputs.indices(scaled.kernel.shape[1])
    if stop - start < scaled.kernel.shape[1]:
        steps.append(("Slice", [np.array([n]) for n in (start, stop, 1)], {}))
    _chain(name, kept, [*steps, *_times(scaled)], initializers, nodes)


def _times(scaled):
    """The factor of each channel; one for all where they have the same, none where it is 1."""
    if scaled is None or np.all(scaled.factor == 1):
        return []
    factor = np.float32(scaled.factor)
    factor = factor[:1] if np.all(factor == factor[0]) else factor
    return [("Mul", [factor[:, None, None, None]], {})]


def _chain(name, kept, steps, initializers, nodes):
    """Adds the nodes that make `name` of an initializer; the last one's output has that name."""
    initializers.append(kept)
    value = kept.name
    for i, (kind, operands, attributes) in enumerate(steps):
        names = [f"{name}_{kind.lower()}_{k}" for k in range(len(operands))]
        initializers += map(onnx.numpy_helper.from_array, operands, names)
        output = name if i == len(steps) - 1 else f"{name}_{i}"
        nodes.append(onnx.helper.make_node(kind, [value, *names], [output], **attributes))
        value = output


def _arrays(name, data):
    """{(shape, bytes as float32): tensor that refers to a place in a safetensors file}."""
    start = 8 + int.from_bytes(data[:8], "little")
    types = {"F16": (np.float16, TensorProto.FLOAT16), "F32": (np.float32, TensorProto.FLOAT)}
    tensors = {}
    for described in json.loads(data[8:start]).values():
        if described.get("dtype") not in types:
            continue
        dtype, number = types[described["dtype"]]
        first, last = (start + offset for offset in described["data_offsets"])
        value = np.frombuffer(data[first:last], dtype).astype(np.float32)
        tensor = TensorProto(data_type=number, dims=described["shape"])
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in (("location", name), ("offset", first), ("length", last - first)):
            tensor.external_data.add(key=key, value=str(text))
        tensors[tuple(described["shape"]), value.tobytes()] = tensor
    return tensors


def _kept(value, files):
    """A copy of the tensor that refers to an array of the file; None where it has no such array."""
    tensor = files.get((value.shape, value.tobytes()))
    if tensor is None:
        return None
    copy = TensorProto()
    copy.CopyFrom(tensor)
    return copy
