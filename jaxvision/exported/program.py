"""An exported program, run by jax alone."""

from collections.abc import Callable

import jax
import numpy as np
from jax import export
from jax.sharding import Mesh

from jaxvision.errors import UserError
from jaxvision.exported import folder
from jaxvision.exported.folder import Exported
from jaxvision.sharding import make_mesh, replicated, shard_batch


def platform() -> str:
    """What jax.export calls the devices of this process: cpu, cuda, rocm or tpu."""
    device = jax.devices()[0]
    if device.platform != "gpu":
        return device.platform
    return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"


def load_program(exported: Exported) -> Callable[..., dict[str, jax.Array]]:
    """The program for this process' devices: (variables, inputs [n, ...]) -> {name: [n, ...]}.

    Raises:
      UserError: there is none for them, or its file is missing or damaged.
    """
    name = folder.program_name(platform())
    if name not in exported.described["files"]:
        held = [file for file in exported.described["files"] if file.endswith(".stablehlo")]
        raise UserError(
            f"{exported.folder} has no program for {platform()}, only {', '.join(held)}: set "
            "JAX_PLATFORMS=cpu, or use --engine=onnx"
        )
    data = bytearray(folder.read_file(exported, name))
    try:
        return export.deserialize(data).call
    except ValueError as error:  # the serialization or a calling convention of another jax
        raise UserError(
            f"{exported.folder / name} cannot be read by jax {jax.__version__} "
            f"({str(error).splitlines()[0]}): use the jax that exported it "
            f"({exported.described.get('versions', {}).get('jax', '?')}), or --engine=onnx"
        ) from error


def make_predict(exported: Exported) -> tuple[Callable, Mesh]:
    """Returns predict(inputs uint8 [n, ...]) -> {name: array [n, ...]}, and the devices it is on.

    Raises:
      UserError: see `load_program` and `folder.read_variables`.
    """
    program, mesh = jax.jit(load_program(exported)), make_mesh({})
    variables = jax.device_put(folder.read_variables(exported), replicated(mesh))

    def predict(inputs: np.ndarray) -> dict[str, jax.Array]:
        folder.check_inputs(exported, inputs)
        return program(variables, shard_batch(mesh, inputs))

    return predict, mesh
