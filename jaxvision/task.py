"""What a task is: the functions that the training loop calls, and nothing else.

A task is a module `jaxvision/tasks/<name>.py` with one function

    make(config, info) -> Task

`config` is the run's ml_collections config, `info` the data set's facts (`Dataset.info`). The loop
finds the module by `config.task`; there is no registry. Everything that differs between systems
lives behind these functions; when to log, evaluate, draw and save is the loop's business alone.

Conventions:
  batch     dict of arrays with a leading batch axis; images as uint8 [B, H, W, C]. Evaluation
            batches also hold 'valid', float32 [B]: 0 marks rows that only pad the last batch.
  variables {'params': ..., 'batch_stats': ..., ...}: what `Module.apply` takes.
  extra     `variables` without 'params'.
  sums      of `loss`: {name: (numerator, denominator)}; the log shows the ratio of the two totals.
  fitted    {name: float} that was chosen on the validation split (a threshold, a temperature) and
            is kept with the checkpoint; {} before the first evaluation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """What evaluation saw of a batch, or of a whole split.

    Attributes:
      sums: {name: array}, added up over batches; rows whose 'valid' is 0 count nothing.
      rows: {name: array [B, ...]}, one entry a row of the batch, joined over batches; the loop cuts
        off the rows that only pad. For what no sum can give: ranks, the worst rows.
    """

    sums: dict[str, Any]
    rows: dict[str, Any]


class Task(NamedTuple):
    """The pure functions of one task.

    Attributes:
      init: (key, batch) -> variables.
      load_weights: (variables) -> variables. Host; called once, when a run begins and not when it
        is resumed: pretrained weights go in here.
      augment: (key, batch) -> batch. Runs inside jit, on device, in training only.
      loss: (params, extra, batch, key) -> (loss, (extra, sums)). Differentiated by the train step.
      metrics: (variables, batch, key) -> Measured, of the rows whose 'valid' is 1.
      fit: (measured) -> fitted. Host; called with the validation split only.
      summarize: (measured, fitted) -> {name: float}. Host; a whole split. The names must not depend
        on what was measured.
      draw: (variables, batch, key, fitted) -> {name: uint8 image [H, W, 3]}. Host; calls the model
        on a few rows. An image of four axes, [F, H, W, 3], is a film.
      predict: (variables, images) -> outputs. Jittable; images uint8 [B, H, W, C], no labels.
      decode: (outputs, image, fitted) -> one image's prediction: JSON-able values, arrays. Host.
      predict_file: (predict, path, output, fitted) -> JSON-able record. Host; reads one of the
        user's files, writes what was found under the folder `output`. `predict` is the jitted
        `predict` above with the variables already bound: images -> outputs.
      trainable: (path) -> bool, for a parameter path such as ('encoder', 'Conv1', 'kernel').
        Parameters that are not trainable get no gradient and no optimizer state.
      plots: (measured, fitted) -> {name: uint8 image [H, W, 3]}. Host; figures of a whole split (a
        confusion matrix, say).
      tables: (measured, fitted) -> {name: list of {column: value}}. Host; what a single number
        cannot tell of a whole split (each class's precision, say); goes to evaluation.json.
      adapt: (dataset) -> dataset. Host; other data than the model was trained on, as the model
        needs it (labels in its order). Raises UserError where the data does not fit.
      highlights: (measured, fitted) -> {name: row numbers}, the most telling first (the worst
        predictions, say). Host; drawn under that name when training ends.
      collect: (records, output) -> None. Host; after the last `predict_file`, with the records of
        all files: writes what concerns them together (a table) under the folder `output`.
      finish: (predict, dataset, output, fitted) -> None. Host; once, when training has ended, with
        the best checkpoint: writes what is neither a figure nor a number (a film of the test split)
        into the folder `output`. `predict` as for `predict_file`.
      condense: (variables, batch) -> batch, or None. What a frozen part of the model makes of a
        batch, which need not be made again at every step: resident data pass through it once,
        before training begins. `augment`, `loss` and `metrics` take batches of both kinds.
      extensions: names of the files that `predict_file` reads; anything else in an input folder is
        not an input.
    """

    init: Callable[..., Any]
    load_weights: Callable[..., Any]
    augment: Callable[..., Any]
    loss: Callable[..., Any]
    metrics: Callable[..., Any]
    fit: Callable[[Measured], dict[str, float]]
    summarize: Callable[..., dict[str, float]]
    draw: Callable[..., dict[str, Any]]
    predict: Callable[..., Any]
    decode: Callable[..., Any]
    predict_file: Callable[..., dict[str, Any]]
    trainable: Callable[[tuple[str, ...]], bool]
    plots: Callable[..., dict[str, Any]] = lambda measured, fitted: {}
    tables: Callable[..., dict[str, Any]] = lambda measured, fitted: {}
    adapt: Callable[..., Any] = lambda dataset: dataset
    highlights: Callable[..., dict[str, Any]] = lambda measured, fitted: {}
    collect: Callable[..., None] = lambda records, output: None
    finish: Callable[..., None] = lambda predict, dataset, output, fitted: None
    condense: Callable[..., Any] | None = None
    extensions: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
