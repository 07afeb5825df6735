"""A trained model, ready to answer: out of a workdir, or out of an exported folder.

Both ways end in one value, `Engine`. Nothing heavy is imported before it is known what is needed:
flax and orbax for a workdir, jax for an exported program, onnxruntime without jax for model.onnx.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxvision import batching, workdir
from jaxvision.errors import UserError
from jaxvision.exported import folder as exported_folder
from jaxvision.exported.folder import Exported
from jaxvision.task import Predictor
from jaxvision.tasks import find_system

# auto and local: jax in this process. ray: predict alone, over the hosts of a cluster.
ENGINES = ("auto", "local", "onnx", "ray")


class Engine(NamedTuple):
    """A trained model, ready to answer.

    Attributes:
      task: its name.
      predictor: from pictures to inputs, and from outputs to answers.
      predict: (inputs uint8 [n, *input_shape]) -> {name: array [n, ...]}; may return before the
        result is there. A new n may compile anew: use the sizes of `batching.bucket`.
      devices: that share a batch; n divides among them.
      info: the data set's facts (class names, ...).
      fitted: what validation chose (a threshold, ...).
      step: of the training that the weights are from.
      digest: changes with the model; letters and digits.
      runs_on: 'onnxruntime', or jax's platform, to be told.
      trained: of a run: its `jaxvision.trained.Trained`; None of an exported model.
    """

    task: str
    predictor: Predictor
    predict: Callable[[np.ndarray], dict[str, Any]]
    devices: int
    info: dict[str, Any]
    fitted: dict[str, float]
    step: int
    digest: str
    runs_on: str
    trained: Any = None


def read_config(folder: str) -> ConfigDict:
    """The config that a run was begun with, or that a model was exported with.

    Raises:
      UserError: the folder holds neither.
    """
    if exported_folder.is_exported(folder):
        return exported_folder.read(folder).config
    return workdir.read_config(folder)


def check_is_run(folder: str) -> None:
    """Raises UserError where a folder is an exported model, which cannot be trained or exported."""
    if exported_folder.is_exported(folder):
        raise UserError(
            f"{folder} is an exported model: train in another --workdir, from this one's weights "
            f"with --config.init_from={folder}"
        )


def open_engine(config: ConfigDict, folder: str, engine: str = "auto", step: int = 0) -> Engine:
    """The model of a folder.

    Args:
      config: may differ from the folder's own in anything but the model.
      folder: a run's, or an exported model's.
      engine: auto or local: jax, with the model's code or its exported program; onnx: onnxruntime,
        of an exported model.
      step: of a run: the checkpoint's; 0: the best.

    Raises:
      UserError: nothing was trained there, the folder is damaged, or the config describes another
        model.
    """
    if engine == "ray":
        raise UserError(
            "--engine=ray spreads --mode=predict over a cluster: leave it out, or use local or onnx"
        )
    if exported_folder.is_exported(folder):
        exported = _checked(config, folder, step)
        return _of_onnx(config, exported) if engine == "onnx" else _of_program(config, exported)
    if engine == "onnx":
        raise UserError(
            f"--engine=onnx runs an exported model, and {folder} is a run: export it first "
            "(--mode=export --output=<folder>) and name that folder"
        )
    from jaxvision.trained import load_trained, make_predict  # flax and orbax

    workdir.keep_compiled_programs()
    trained = load_trained(config, folder, step)
    return Engine(
        task=config.task,
        predictor=trained.task.predictor,
        predict=make_predict(trained),
        devices=trained.mesh.size,
        info=trained.info,
        fitted=trained.fitted,
        step=trained.step,
        digest=trained.digest,
        runs_on=trained.mesh.devices.flat[0].platform,
        trained=trained,
    )


def describe_model(config: ConfigDict, folder: str, engine: str = "auto", step: int = 0) -> Engine:
    """As `open_engine`, but without `predict`, for a process that only says what others do.

    It takes no GPU; of an exported model it imports no jax.

    Raises:
      UserError: as `open_engine`.
    """
    if exported_folder.is_exported(folder):
        return _engine(config, _checked(config, folder, step), None, 0, "")
    import jax

    jax.config.update("jax_platforms", "cpu")
    return open_engine(config, folder, engine, step)


def _checked(config: ConfigDict, folder: str, step: int) -> Exported:
    """The exported model of a folder, if it is the one that `config` and `step` speak of."""
    exported = exported_folder.read(folder)
    workdir.check_same_model(config, exported.config, folder)
    if step not in (0, exported.described["step"]):
        raise UserError(
            f"--step={step}: {folder} was exported from step {exported.described['step']} and "
            "holds no other"
        )
    return exported


def _of_program(config: ConfigDict, exported: Exported) -> Engine:
    from jaxvision.exported import program

    workdir.keep_compiled_programs()
    predict, mesh = program.make_predict(exported)
    return _engine(config, exported, predict, mesh.size, program.platform())


def _of_onnx(config: ConfigDict, exported: Exported) -> Engine:
    from jaxvision.exported import session

    return _engine(config, exported, session.make_predict(exported), 1, "onnxruntime")


def _engine(config, exported, predict, devices, runs_on) -> Engine:
    described = exported.described
    return Engine(
        task=config.task,
        predictor=find_system(config.task).make_predictor(config, described["info"]),
        predict=predict,
        devices=devices,
        info=described["info"],
        fitted=described["fitted"],
        step=described["step"],
        digest=exported.digest,
        runs_on=runs_on,
    )


def make_apply(engine: Engine, batch_size: int) -> Callable[[Iterable], Iterator]:
    """Returns apply((key, inputs) ...) -> (key, outputs) ..., as `Predictor.stream` takes it."""
    return functools.partial(
        batching.apply_in_batches,
        engine.predict,
        batch_size=batch_size,
        devices=engine.devices,
    )
