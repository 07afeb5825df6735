"""What a system is to the rest of the code: three groups of functions, and nothing else.

A system is a package `jaxvision/tasks/<name>/` with three functions

    make(config, info) -> Task
    make_report(config, info) -> Report            without importing flax; `draw` is added by `make`
    make_predictor(config, info) -> Predictor      without importing jax

so that an exported model is used without what trained it.
`config` is the run's ml_collections config, `info` the data set's facts (`Dataset.info`). The
package is found by `config.task`; there is no registry. When to log, evaluate, draw and save is the
loop's business: a task never knows.

    Model      what is trained and exported: pure functions of arrays, under jit
    Report     what is made, on the host, of what was measured: metrics, figures, tables
    Predictor  from a picture in memory to an answer in that picture's own coordinates

Conventions:
  batch     dict of arrays with a leading batch axis; images as uint8 [B, H, W, C]. Evaluation
            batches also hold 'valid', float32 [B]: 0 marks rows that only pad the last batch.
  variables {'params': ..., 'batch_stats': ..., ...}: what `Module.apply` takes.
  extra     `variables` without 'params'.
  sums      of `loss`: {name: (numerator, denominator)}; the log shows the ratio of the two totals.
  fitted    {name: float} that was chosen on the validation split (a threshold, a temperature) and
            is kept with the checkpoint; {} before the first evaluation.
  picture   uint8 [H, W, 3], RGB, of any size.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class Measured(NamedTuple):
    """What evaluation saw of a batch, or of a whole split.

    Attributes:
      sums: {name: array}, added up over batches; rows whose 'valid' is 0 count nothing.
      rows: {name: array [B, ...]}, one entry a row of the batch, joined over batches; the loop cuts
        off the rows that only pad. For what no sum can give: ranks, the worst rows.
    """

    sums: dict[str, Any]
    rows: dict[str, Any]


class Under(NamedTuple):
    """What evaluation saw of a whole split under one of `Report.conditions`.

    Attributes:
      measured: of the split.
      rows: int [n], a few rows, spread over it; the same for every condition.
      shown: {name: array [n, ...]}, those rows as the condition changed them.
    """

    measured: Measured
    rows: np.ndarray
    shown: dict[str, np.ndarray]


class Model(NamedTuple):
    """What is trained and exported.

    Attributes:
      init: (key, batch) -> variables.
      load_weights: (variables) -> variables. Host; called once, when a run begins and not when it
        is resumed: pretrained weights go in here.
      augment: (key, batch) -> batch. Runs inside jit, on device, in training only.
      loss: (params, extra, batch, key) -> (loss, (extra, sums)). Differentiated by the train step.
      metrics: (variables, batch, key) -> Measured, of the rows whose 'valid' is 1.
      predict: (variables, inputs) -> {name: array [N, ...]}. Inputs are what `Predictor.prepare`
        makes, uint8 [N, *input_shape]; no row depends on the others.
      input_shape: of one input; a text stands for any size that it describes ('32*h').
      trainable: (path) -> bool, for a parameter path such as ('encoder', 'Conv1', 'kernel').
        Parameters that are not trainable get no gradient and no optimizer state.
      condense: (variables, batch) -> batch, or None. What a frozen part of the model makes of a
        batch, which need not be made again at every step: resident data pass through it once,
        before training begins. `augment`, `loss` and `metrics` take batches of both kinds.
    """

    init: Callable[..., Any]
    load_weights: Callable[..., Any]
    augment: Callable[..., Any]
    loss: Callable[..., Any]
    metrics: Callable[..., Measured]
    predict: Callable[..., dict[str, Any]]
    input_shape: tuple[int | str, ...]
    trainable: Callable[[tuple[str, ...]], bool] = lambda path: True
    condense: Callable[..., Any] | None = None


class Report(NamedTuple):
    """What is made of a split that was measured; all on the host.

    Attributes:
      measure: (outputs, batch) -> Measured, of what `Model.predict` made of a batch: all that an
        exported model can be judged by. Jittable; `Model.metrics` may measure more.
      inputs: (batch) -> what of a batch `Model.predict` takes.
      fit: (measured) -> fitted. Called with the validation split only.
      metrics: (measured, fitted) -> {name: float}; among them 'loss', the training loss as far as
        it makes sense without augmentation. The names must not depend on what was measured.
      headline: names of the three to five metrics that a line on the console shows.
      draw: (variables, batch, key, fitted) -> {name: uint8 image [H, W, 3]}. Calls the model on a
        few rows. An image of four axes, [F, H, W, 3], is a film.
      figures: (measured, fitted) -> {name: uint8 image [H, W, 3]}, of a whole split (a confusion
        matrix, say).
      tables: (measured, fitted) -> {name: list of {column: value}}: what a single number cannot
        tell of a whole split (each class's precision, say); goes to evaluation.json.
      highlights: (measured, fitted) -> {name: row numbers}, the most telling first (the worst
        predictions, say); drawn under that name when training ends.
      adapt: (dataset) -> dataset. Data, also other than the model was trained on, as the model
        needs it: labels in its order, say. Raises UserError where the data does not fit.
      conditions: {name: (batch, rows) -> batch}: what `--mode=evaluate` also judges a split under,
        each picture changed (darkened, say); `rows`, int32 [B], tells where each stands in the
        split. Called outside jit.
      compare: (measured, {name: Under}, split) -> (tables, figures), as `tables` and `figures`: how
        the split as it is and under each condition compare. Called where there are conditions.
      finish: (apply, dataset, output, fitted) -> None. Once, when training has ended, with the best
        checkpoint: writes what is neither a figure nor a number (a film of the test split) into the
        folder `output`. `apply` as for `Predictor.stream`.
    """

    measure: Callable[..., Measured]
    fit: Callable[[Measured], dict[str, float]]
    metrics: Callable[..., dict[str, float]]
    headline: tuple[str, ...]
    draw: Callable[..., dict[str, Any]] = lambda variables, batch, key, fitted: {}
    figures: Callable[..., dict[str, Any]] = lambda measured, fitted: {}
    inputs: Callable[..., Any] = lambda batch: batch["image"]
    tables: Callable[..., dict[str, Any]] = lambda measured, fitted: {}
    highlights: Callable[..., dict[str, Any]] = lambda measured, fitted: {}
    adapt: Callable[..., Any] = lambda dataset: dataset
    conditions: Mapping[Any, Callable] = MappingProxyType({})
    compare: Callable[..., tuple] = lambda measured, under, split: ({}, {})
    finish: Callable[..., None] = lambda apply, dataset, output, fitted: None


class Prepared(NamedTuple):
    """A picture as the model takes it.

    Attributes:
      inputs: uint8 [N, *input_shape]: tiles, faces, or one resized picture; N may be 0.
      context: what `decode` needs to find the way back to the picture.
    """

    inputs: np.ndarray
    context: Any


class Prediction(NamedTuple):
    """The answer for one picture, in that picture's own pixels.

    Attributes:
      record: JSON-able.
      arrays: {name: array}: what is too large for that.
    """

    record: dict[str, Any]
    arrays: dict[str, np.ndarray]


def _record_row(prediction: Prediction, path: Any) -> dict[str, Any]:
    return {"record": json.dumps(prediction.record)}


class Predictor(NamedTuple):
    """From a picture in memory to an answer; numpy alone, so it works without jax.

    Attributes:
      prepare: (picture) -> Prepared.
      decode: (outputs, context, fitted) -> Prediction. `outputs` are those of `Model.predict` for
        this picture's inputs, as numpy arrays [N, ...]; {} where N is 0.
      render: (picture, prediction) -> uint8 [H', W', 3] to look at.
      describe: (record) -> a few words for the console.
      write: (picture, prediction, path, output) -> JSON-able, what joins the record: {kind: path of
        a file}, and what only the file tells. Puts the answer for the picture that was read from
        `path` into files under the folder `output`.
      collect: (records, output) -> None. After the last file, with the records of all: writes what
        concerns them together (a table) under the folder `output`.
      streams: (path) -> bool: whether a file is no single picture, or too large to be held as one.
      stream: (apply, path, output, fitted) -> record. Predicts such a file, in bounded memory, and
        writes what `write` would. `apply` takes an iterable of (key, inputs [N, *input_shape]) and
        yields (key, outputs) for each, in order, reading a few ahead (`batching.apply_in_batches`).
      extensions: of the files that can be read, in lower case; others in a folder are no input.
      least_side: pixels that a picture's shorter side must have; a larger JPEG may come decoded at
        a half, a quarter or an eighth that still has them. 0: pictures are needed as they are.
      meaning: {'images' or an output's name: in words, how a picture becomes inputs, and what the
        numbers of an output are}: for who uses an exported model without this code.
      geojson: (prediction, georeference or None) -> a GeoJSON FeatureCollection, or None where
        nothing in the answer has an outline.
      smoothers: {name: (strength) -> smooth}, for answers that follow one another, as a camera's
        do: smooth(prediction, seconds since the one before) -> prediction sees the past alone, and
        remembers it. Strength 1 is usual, 2 smooths more. Raises UserError for one that cannot be.
      columns: {name: type} of a table with a row a picture. A type is str, bytes, bool, int, float,
        [type] for a list or {name: type} for a struct.
      row: (prediction, path or None) -> {column: value}; what is left out is null. `path` is of the
        picture's own file, where it has one.
      palettes: {name of an array whose values are numbers of classes: their colours, uint8 [K, 3]}.
    """

    prepare: Callable[[np.ndarray], Prepared]
    decode: Callable[..., Prediction]
    render: Callable[[np.ndarray, Prediction], np.ndarray]
    describe: Callable[[dict[str, Any]], str]
    write: Callable[..., dict[str, Any]]
    extensions: tuple[str, ...]
    least_side: int = 0
    collect: Callable[..., None] = lambda records, output: None
    streams: Callable[..., bool] = lambda path: False
    stream: Callable[..., dict[str, Any]] | None = None
    geojson: Callable[..., dict[str, Any]] | None = None
    meaning: dict[str, str] = {}
    smoothers: Mapping[str, Callable[[float], Callable]] = MappingProxyType({})
    columns: Mapping[str, Any] = MappingProxyType({"record": str})
    row: Callable[..., dict[str, Any]] = _record_row
    palettes: Mapping[str, np.ndarray] = MappingProxyType({})


class Task(NamedTuple):
    """A system."""

    model: Model
    report: Report
    predictor: Predictor
