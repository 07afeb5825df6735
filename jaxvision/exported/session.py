"""An exported model on onnxruntime; nothing here imports jax."""

from collections.abc import Callable

import numpy as np

from jaxvision.errors import UserError
from jaxvision.exported import folder
from jaxvision.exported.folder import Exported


def make_predict(exported: Exported) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns predict(inputs uint8 [n, ...]) -> {name: array [n, ...]}.

    Raises:
      UserError: onnxruntime is not installed; model.onnx is missing or damaged.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError('--engine=onnx needs onnxruntime: pip install -e ".[onnx]"') from error
    for name in exported.described.get("onnx_reads", ()):
        folder.read_file(exported, name)
    folder.read_file(exported, folder.ONNX)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        str(exported.folder / folder.ONNX), options, providers=_providers(onnxruntime)
    )
    outputs, given = list(exported.described["outputs"]), exported.described["input"]["name"]

    def predict(inputs: np.ndarray) -> dict[str, np.ndarray]:
        folder.check_inputs(exported, inputs)
        return dict(zip(outputs, session.run(outputs, {given: np.asarray(inputs)}), strict=True))

    return predict


def _providers(onnxruntime) -> list[str]:
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    return [name for name in wanted if name in onnxruntime.get_available_providers()]
