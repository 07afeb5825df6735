"""Every field of the configs: its type, its range and what it means; `check_config` reads this.

What a field is for stands in configs/ in full; here is what it may be.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

SYSTEMS = Path(__file__).parents[1] / "tasks"
READERS = Path(__file__).parents[1] / "input_pipeline" / "readers"


class Field(NamedTuple):
    """What a field may be.

    Attributes:
      kind: 'whole' (number), 'number', 'bool', 'text', 'path', 'choice', or 'reader'.
      meaning: a few words, for messages.
      low, high: of a number, both included.
      above, below: of a number, neither included.
      multiple: of a whole number, what divides it.
      choices: of a choice; of a path, words that are none.
      many: a tuple of such values; `lengths` says how many there may be, () any number.
      none: whether None may stand for 'not said'.
    """

    kind: str
    meaning: str
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    multiple: int = 1
    choices: tuple[Any, ...] = ()
    many: bool = False
    lengths: tuple[int, ...] = ()
    none: bool = False


def whole(meaning: str, low: int = 0, high: int = 10**9) -> Field:
    """A whole number."""
    return Field("whole", meaning, low, high)


def number(meaning: str, low: float = 0.0, high: float = 1e9, **ends: float) -> Field:
    """A number that is finite."""
    return Field("number", meaning, low, high, **ends)


def choice(meaning: str, *choices: Any) -> Field:
    """One of a few values."""
    return Field("choice", meaning, choices=choices)


def yes(meaning: str) -> Field:
    """True or False."""
    return Field("bool", meaning)


def text(meaning: str) -> Field:
    """Any text."""
    return Field("text", meaning)


def path(meaning: str, *words: str) -> Field:
    """A file or folder, which a run keeps as an absolute path, or one of a few words."""
    return Field("path", meaning, choices=words)


def several(field: Field, *lengths: int) -> Field:
    """A tuple of such values."""
    return field._replace(many=True, lengths=lengths)


def _positive(meaning: str, high: float = 1e9) -> Field:
    return number(meaning, 0.0, high, above=0.0)


def _share(meaning: str) -> Field:
    return number(meaning, 0.0, 1.0)


def _synthetic(prefix: str = "data.synthetic_examples") -> dict[str, Field]:
    meaning = "built-in examples of this split"
    splits = {f"{prefix}.{split}": whole(meaning, 0, 10**6) for split in ("val", "test")}
    return {f"{prefix}.train": whole(meaning, 1, 10**6), **splits}


COMMON = {
    "task": text("jaxvision/tasks/<task>, or a dotted module of yours"),
    "seed": whole("what all random numbers follow from", 0, 2**31 - 1),
    "init_from": path("the workdir of another run to begin from"),
    "batch_size": whole("examples a step", 1),
    "data.reader": Field("reader", "what reads the data"),
    "data.path": path("a folder or file of yours; '': built-in data"),
    "data.image_size": whole("pixels", 1, 2**16),
    "data.range": several(number("what is black and white; (): as declared", -1e12, 1e12), 0, 2),
    "data.resident": choice(
        "keep the decoded data on the device", "auto", "true", "false", "True", "False"
    ),
    "data.resident_gib": number("auto keeps data on the device up to this size"),
    "data.workers": whole("decoding processes; 0: threads", 0, 1024),
    "train.epochs": _positive("passes over the training data"),
    "train.steps": whole("batches; wins over epochs when > 0"),
    "train.accumulate_steps": whole("batches whose mean gradient makes one update", 1),
    "train.ema_decay": number("of the weights' moving average; 0: none", 0.0, below=1.0),
    "train.dtype": choice("of the compute", "float32", "bfloat16"),
    "train.steps_per_call": whole("steps fused in one device call; 0: 1 on CPU, else 10", 0, 10**6),
    "optimizer.name": choice("the optimizer", "adamw", "sgd", "radam"),
    "optimizer.learning_rate": number("the highest", 0.0, 1e6),
    "optimizer.weight_decay": number("of kernels", 0.0, 1e3),
    "optimizer.schedule": choice("of the learning rate", "cosine", "constant", "plateau"),
    "optimizer.warmup_steps": whole("updates of linear warm-up"),
    "optimizer.encoder_lr_scale": _positive(
        "the encoder's learning rate is this times the others'"
    ),
    "optimizer.clip_norm": number("global gradient norm; 0: no clipping"),
    "optimizer.plateau_factor": number("lowers the learning rate", 0.0, above=0.0, below=1.0),
    "optimizer.plateau_patience": _positive("epochs without a better metric"),
    "eval.every_epochs": _positive("epochs between evaluations"),
    "eval.batch_size": whole("examples a batch; 0: batch_size"),
    "eval.figure_rows": whole("rows of each figure; 0: no figures", 0, 1000),
    "checkpoint.every_steps": whole("steps; 0: after evaluations only"),
    "checkpoint.keep_every_steps": whole("saved multiples of this are kept; 0: none"),
    "checkpoint.best_metric": text("which step is kept; '': the newest alone"),
    "checkpoint.higher_is_better": yes("of best_metric"),
    "log.every_steps": whole("steps between log lines; 0: none"),
    "log.wandb.project": text("'': no Weights & Biases"),
    "log.wandb.entity": text("whose project"),
    "early_stop_epochs": whole("epochs without a better metric; 0: never"),
}

ENCODER = {
    "model.encoder.name": text("of jaxvision/models/encoders.py"),
    "model.encoder.width": number("of mobilenet_v2", 0.05, 4.0),
    "model.encoder.weights": path(
        "auto, imagenet, '' (from scratch) or a file", "auto", "imagenet"
    ),
    "model.encoder.freeze": Field("bool", "None: where there are weights", none=True),
    "model.encoder.inference_mode": yes("whether layers that learn compute as in evaluation"),
    "model.encoder.unfreeze_from": text("a layer's name"),
    "model.encoder.bn_momentum": _share("of the running statistics"),
}

_JITTER = {
    "augment.brightness": _share("at most, of 1"),
    "augment.contrast": _share("at most, of 1"),
}

SEGMENTATION = {
    **ENCODER,
    **_synthetic(),
    **_JITTER,
    "data.reader": Field("reader", "what reads the data", choices=("aerial",)),
    "data.crop_size": whole("side of the random training crop; 0: the whole tile", 0, 2**16),
    "data.classes": several(
        text("the kind of outlines to find, or the names of several classes of masks")
    ),
    "data.class_colors": several(text("of masks in colour, one a class, as '#ff8000'")),
    "data.class_property": text("of GeoJSON's features, that names their class"),
    "augment.zoom": number("by a factor of up to 1 + zoom", 0.0, 10.0),
    "augment.flip": yes("mirror at random"),
    "augment.rotate90": yes("quarter turns at random"),
    "augment.saturation": _share("at most, of 1"),
    "model.decoder_widths": several(
        whole("channels at strides 16, 8, 4 and 2, and at full resolution", 1, 2**14), 5
    ),
    "loss.name": choice("the loss", "bce_dice", "bce", "focal_tversky"),
    "loss.tversky_alpha": _share("weight of missed pixels"),
    "loss.tversky_gamma": _positive("exponent", 100.0),
    # A quarter of a tile is whole strides of the network, 32 pixels.
    "predict.tile": whole("side of a tile, pixels", 128, 2**14)._replace(multiple=128),
    "predict.overlap": whole("of tiles, pixels", 0, 2**14),
    "predict.batch_size": whole("tiles a batch", 1, 4096),
    "predict.probability": yes("also write the probability"),
    "predict.polygons": yes("also write footprints as GeoJSON"),
    "predict.side_by_side": yes("also write photo and footprints beside each other"),
    "predict.tolerance": number("by which outlines may be simplified, pixels"),
    "predict.min_area": number("smaller footprints are left out, pixels"),
}

CLASSIFICATION = {
    **ENCODER,
    **_synthetic(),
    **_JITTER,
    "data.reader": Field("reader", "what reads the data", choices=("expressions", "scenes")),
    "data.image_size": whole("shorter side, pixels", 8, 2**16),
    "data.channels": choice("gray or RGB", 1, 3),
    "data.crop_size": whole("side of what the network sees; 0: all", 0, 2**16),
    "data.balanced": yes("draw every class equally often"),
    "data.tfds": text("name of a TFDS data set"),
    "data.label": text("column of the class in parquet or metadata; '': label"),
    "augment.flip": yes("mirror at random"),
    "augment.rotate": number("degrees, to either side", 0.0, 180.0),
    "augment.zoom": number("by a factor of up to 1 + zoom", 0.0, 10.0),
    "augment.shift": _share("of the side"),
    "augment.saturation": _share("at most, of 1"),
    "augment.erase": _share("probability of noise over a rectangle"),
    "augment.webcam": _share("probability of what a webcam does to a picture"),
    "augment.mixup": number("alpha of the Beta distribution; 0: none", 0.0, 1e3),
    "augment.cutmix": number("alpha of the Beta distribution; 0: none", 0.0, 1e3),
    "model.attention": several(text("a kind of models/attention.py, or '', after each stage")),
    "model.block_attention": text("a kind of models/attention.py, or ''"),
    "model.head_attention": text("a kind of models/attention.py, or ''"),
    "model.hidden": several(whole("units of the layers before the head", 1, 2**16)),
    "model.dropout": number("share of features", 0.0, below=1.0),
    "model.remat": yes("compute blocks twice and keep less"),
    "loss.name": choice("the loss", "cross_entropy", "focal"),
    "loss.label_smoothing": number("share", 0.0, below=1.0),
    "loss.focal_gamma": number("exponent", 0.0, 100.0),
    "loss.class_weights": choice(
        "against rare classes being passed over", "none", "sqrt", "balanced"
    ),
    "eval.views": choice("also judge the mean over views", "", "flip", "ten_crop"),
    "eval.corruptions": yes("--mode=evaluate also judges pictures as a webcam spoils them"),
    "predict.faces": choice("look for faces", "auto", "always", "never"),
    "predict.detector": path("YuNet's onnx; '': Haar cascade"),
    "predict.margin": number("added to each side of a face, as a share of it", 0.0, 10.0),
    "predict.every_seconds": _positive("seconds between the frames looked at"),
    "predict.batch_size": whole("faces a batch", 1, 4096),
    "predict.pictures": yes("also write each picture with its faces marked"),
}

ATTENTION = {
    **_synthetic(),
    "data.reader": Field("reader", "what reads the data", choices=("small_images",)),
    "data.gray": yes("one channel in place of three"),
    "data.tfds": text("name of a TFDS data set"),
    "data.label": text("column of the class in parquet; '': label"),
    "canvas.size": whole("side, pixels; 0: no canvas", 0, 4096),
    "canvas.clutter": whole("pieces of other images", 0, 1000),
    "canvas.clutter_size": whole("side of a piece, pixels", 1, 4096),
    "augment.shift": whole("pixels each way, at most", 0, 4096),
    "model.head": choice("the answer", "classifier", "decoder"),
    "model.glimpses": whole("looks at an image", 1, 1000),
    "model.size": whole("side of a glimpse's sharpest patch, pixels", 1, 4096),
    "model.patches": whole("around the same point", 1, 16),
    "model.scale": whole("each so many times as wide as the last", 1, 16),
    "model.core": choice("the recurrent cell", "rnn", "lstm", "gru"),
    "model.hidden": whole("units of the core", 1, 2**16),
    "model.widths": several(whole("glimpse network: what, where, both", 1, 2**16), 3),
    "model.decoder_width": whole("units", 1, 2**16),
    "model.first": choice("the first glimpse", "random", "learned", "centre"),
    "model.policy": choice("where the others go", "learned", "random", "centre", "grid"),
    "model.std": number("of the policy, where an image is 2 wide", 0.0, 10.0, above=0.0),
    "model.learn_std": yes("the policy also says its std"),
    "model.heads_train_core": yes("policy and baseline train the core"),
    "model.start": choice("of the policy's means", "middle", "spread"),
    "model.at_means": yes("no noise once it is trained"),
    "model.policy_sees": choice("what the policy is given", "state", "glimpse"),
    "loss.reward": choice("of a glimpse", "correct", "final_error", "error_drop"),
    "loss.discount": _share("of later rewards"),
    "loss.baseline": choice("what a return is compared with", "learned", "means"),
    "loss.normalize_rewards": yes("mean 0 and deviation 1 over the batch"),
    "loss.policy_weight": number("of the policy's loss"),
    "loss.entropy_bonus": number("nats"),
    "loss.every_glimpse": yes("the error after each glimpse counts"),
    "eval.rollouts": whole("of the policy per image", 1, 10**4),
    "predict.batch_size": whole("images a batch", 1, 4096),
    "predict.film": choice("kind of film", "gif", "mp4", ""),
    "predict.rollouts": whole("of the policy per image", 1, 10**4),
}

KEYPOINTS = {
    **_synthetic(),
    **_JITTER,
    "data.reader": Field("reader", "what reads the data", choices=("keypoints",)),
    "data.image_size": whole("longer side, pixels; 0: as they are", 0, 2**16),
    "data.crop_size": whole("side of the square about the animal; 0: the whole", 0, 2**16),
    "data.color": yes("False: gray"),
    "data.animal": choice("than the floor", "dark", "light"),
    "data.split": choice("how test is chosen", "time", "random"),
    "data.test_fraction": number("share", above=0.0, below=1.0),
    "data.val_fraction": number("of what is not test", above=0.0, below=1.0),
    "data.group_size": whole("consecutive pictures made from one; 0: found by content"),
    "augment.rotate90": yes("quarter turns at random"),
    "augment.flip": yes("mirror at random"),
    "augment.noise": number("of a pixel, grey levels", 0.0, 255.0),
    "augment.shift": number("at most, pixels", 0.0, 2**16),
    "augment.label_noise": number("of a point, pixels", 0.0, 2**16),
    "augment.rotation": number("at most, degrees", 0.0, 180.0),
    "augment.scale": number("by a factor of up to 1 + scale", 0.0, 10.0),
    "augment.wall": _share("probability of a dark wall behind the animal"),
    "augment.occlusion": _share("probability of a patch before it"),
    "augment.blur": number("standard deviation at most, pixels", 0.0, 16.0),
    "model.name": choice("the network", "heatmap", "coordinate"),
    "model.widths": several(whole("channels", 1, 2**14), 1, 2, 3, 4, 5, 6, 7, 8),
    "loss.heatmap": number("weight of the heatmap's cross-entropy"),
    "loss.sigma": _positive("of the Gaussian, pixels", 2.0**16),
    "heading.base": several(text("names of points")),
    "heading.neck": several(text("names of points")),
    "heading.head": several(text("names of points")),
    "film.path": path("npz or video; '': the test split"),
    "film.fps": _positive("frames a second", 1e5),
    "film.max_frames": whole("at most", 1),
    "predict.batch_size": whole("frames a batch", 1, 4096),
    "predict.crop_size": whole("side of the crop that follows the animal; 0: found", 0, 2**16),
    "predict.layout": choice("of the csv", "plain", "deeplabcut"),
    "predict.h5": yes("also an h5"),
    "predict.film": yes("also a film"),
    "predict.fps": _positive("frames a second of npz films", 1e5),
    "predict.smoothing": choice("of tracks", "", "one_euro", "kalman"),
    "predict.smoothing_strength": _positive("1: as measured"),
}

PERCEPTION = {
    **ENCODER,
    **_synthetic(),
    **_JITTER,
    "data.reader": Field("reader", "what reads the data", choices=("perception",)),
    "data.image_size": whole("side of the middle square; 0: 256, built-in 96", 0, 2**16),
    "data.crop_size": whole("what the network sees of it; 0: 7/8", 0, 2**16),
    "data.attributes": several(text("those to predict; (): all")),
    "data.target": choice("the scale of scores", "range", "deciles"),
    "data.split": choice("how test is chosen", "image", "city"),
    **{f"data.fractions.{split}": _share("of the photos") for split in ("train", "val", "test")},
    "data.test_cities": several(text("of data.split=city; (): chosen by hash")),
    "data.folds": whole("equal parts by hash; 0: none", 0, 10**4),
    "data.fold": whole("the part that is the test split", 0, 10**4),
    "data.oversample": text("an attribute; '': none"),
    "data.cached_views": whole("a frozen encoder sees of each photo once; 0: none", 0, 10),
    "data.synthetic_pairs": number("pairs a scene that are voted on", 0.0, 1e3),
    "augment.saturation": _share("at most, of 1"),
    "model.hidden": several(whole("units of the layers before the head", 1, 2**16)),
    "model.dropout": number("share of features", 0.0, below=1.0),
    "model.heads": whole("of the ensemble", 1, 100),
    "loss.name": choice("of scores", "mse", "huber", "gaussian", "ordinal"),
    "loss.scores": number("weight of the loss on scores"),
    "loss.votes": number("weight of the loss on votes"),
    "predict.batch_size": whole("photos a batch", 1, 4096),
    "predict.pictures": yes("also write each photo with its scores"),
    "predict.map_tiles": text("address of map tiles; '': none"),
    "predict.geojson": yes("where photos are named lat_lon_id_city"),
}

TASKS = {
    "segmentation": SEGMENTATION,
    "classification": CLASSIFICATION,
    "attention": ATTENTION,
    "keypoints": KEYPOINTS,
    "perception": PERCEPTION,
}
