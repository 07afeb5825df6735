"""The face detector BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047) from TFLite to ONNX.

Covers the nine operations that it consists of, and refuses any other.
"""

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
_DTYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}


class _Graph:
    """The ONNX nodes so far. Maps are kept as [N, C, H, W]; their names end in ':nchw'."""

    def __init__(self, model: tflite.Model):
        self.model, self.source = model, model.Subgraphs(0)
        self.nodes, self.weights, self.constants = [], [], {}

    def name(self, index: int) -> str:
        return self.source.Tensors(index).Name().decode()

    def shape(self, index: int) -> list[int]:
        return [int(size) for size in self.source.Tensors(index).ShapeAsNumpy()]

    def constant(self, index: int) -> np.ndarray | None:
        """The values of a constant tensor, widened to float32; None for a computed one."""
        if index in self.constants:
            return self.constants[index]
        tensor = self.source.Tensors(index)
        data = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(data, int):
            return None
        values = np.frombuffer(data.tobytes(), _DTYPES[tensor.Type()]).reshape(self.shape(index))
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def add(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def convert(data: bytes) -> bytes:
    """A .tflite file's bytes as an ONNX file's.

    Returns:
      input `input` float32 [1, 128, 128, 3] in -1..1; outputs `regressors` [1, 896, 16] and
      `classificators` [1, 896, 1].

    Raises:
      ValueError: an operation that is not covered.
    """
    graph = _Graph(tflite.Model.GetRootAsModel(data, 0))
    first, outputs = int(graph.source.Inputs(0)), [int(i) for i in graph.source.OutputsAsNumpy()]
    graph.add("Transpose", [graph.name(first)], graph.name(first) + ":nchw", perm=[0, 3, 1, 2])
    for i in range(graph.source.OperatorsLength()):
        operator = graph.source.Operators(i)
        code = graph.model.OperatorCodes(operator.OpcodeIndex())
        kind = _NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if kind not in _OPERATIONS:
            raise ValueError(f"the operation {kind} is not covered")
        inputs = [int(index) for index in operator.InputsAsNumpy()]
        _OPERATIONS[kind](graph, operator, inputs, int(operator.Outputs(0)))

    def described(index: int):
        return helper.make_tensor_value_info(
            graph.name(index), TensorProto.FLOAT, graph.shape(index)
        )

    made = helper.make_graph(
        graph.nodes, "blazeface", [described(first)], list(map(described, outputs)), graph.weights
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _options(operator, kind):
    options, table = kind(), operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options


def _activation(graph: _Graph, code: int, name: str, output: str) -> None:
    if code == tflite.ActivationFunctionType.RELU:
        graph.add("Relu", [name], output)
    elif code == tflite.ActivationFunctionType.NONE:
        graph.add("Identity", [name], output)
    else:
        raise ValueError(f"the activation {code} is not covered")


def _dequantize(graph, operator, inputs, output):
    graph.constants[output] = graph.constant(inputs[0])


def _same(options, size: list[int], kernel: list[int]) -> list[int]:
    """TensorFlow's padding [top, left, bottom, right]; what is odd goes to the end."""
    if options.Padding() == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    strides = options.StrideH(), options.StrideW()
    total = [
        max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, strides, strict=True)
    ]
    return [total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2]


def _convolution(graph, operator, inputs, output, depthwise=False):
    kind = tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions
    options, kernel = _options(operator, kind), graph.constant(inputs[1])
    # [out, kh, kw, in], or [1, kh, kw, channels], to [out, in / groups, kh, kw].
    kernel = kernel.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
    name = graph.name(output)
    graph.add(
        "Conv",
        [
            graph.name(inputs[0]) + ":nchw",
            graph.weight(name + ":kernel", kernel),
            graph.weight(name + ":bias", graph.constant(inputs[2])),
        ],
        name + ":linear",
        strides=[options.StrideH(), options.StrideW()],
        pads=_same(options, graph.shape(inputs[0])[1:3], list(kernel.shape[2:])),
        group=kernel.shape[0] if depthwise else 1,
    )
    _activation(graph, options.FusedActivationFunction(), name + ":linear", name + ":nchw")


def _depthwise(graph, operator, inputs, output):
    _convolution(graph, operator, inputs, output, depthwise=True)


def _max_pool(graph, operator, inputs, output):
    options = _options(operator, tflite.Pool2DOptions)
    window = [options.FilterHeight(), options.FilterWidth()]
    graph.add(
        "MaxPool",
        [graph.name(inputs[0]) + ":nchw"],
        graph.name(output) + ":nchw",
        kernel_shape=window,
        strides=[options.StrideH(), options.StrideW()],
        pads=_same(options, graph.shape(inputs[0])[1:3], window),
    )


def _relu(graph, operator, inputs, output):
    graph.add("Relu", [graph.name(inputs[0]) + ":nchw"], graph.name(output) + ":nchw")


def _add(graph, operator, inputs, output):
    options, name = _options(operator, tflite.AddOptions), graph.name(output)
    graph.add("Add", [graph.name(i) + ":nchw" for i in inputs], name + ":sum")
    _activation(graph, options.FusedActivationFunction(), name + ":sum", name + ":nchw")


def _pad(graph, operator, inputs, output):
    before, after = graph.constant(inputs[1])[
        [0, 3, 1, 2]
    ].T  # rows of [N, H, W, C] as [N, C, H, W]
    name = graph.name(output)
    amounts = graph.weight(name + ":pads", np.concatenate([before, after]).astype(np.int64))
    graph.add("Pad", [graph.name(inputs[0]) + ":nchw", amounts], name + ":nchw")


def _reshape(graph, operator, inputs, output):
    name = graph.name(output)
    graph.add("Transpose", [graph.name(inputs[0]) + ":nchw"], name + ":nhwc", perm=[0, 2, 3, 1])
    shape = graph.weight(name + ":shape", np.array(graph.shape(output), np.int64))
    graph.add("Reshape", [name + ":nhwc", shape], name)


def _concatenation(graph, operator, inputs, output):
    axis = _options(operator, tflite.ConcatenationOptions).Axis()
    graph.add("Concat", [graph.name(i) for i in inputs], graph.name(output), axis=axis)


_OPERATIONS = {
    "DEQUANTIZE": _dequantize,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "MAX_POOL_2D": _max_pool,
    "RELU": _relu,
    "ADD": _add,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "CONCATENATION": _concatenation,
}
