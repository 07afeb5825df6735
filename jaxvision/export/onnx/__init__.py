"""The converter from a function of jax to an ONNX model: `convert.to_onnx`."""

import importlib.util

from jaxvision.errors import UserError

if importlib.util.find_spec("onnx") is None:
    raise UserError('ONNX models need the onnx package: pip install -e ".[onnx]"')
