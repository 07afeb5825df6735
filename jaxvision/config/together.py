"""Fields that are fine alone and not together, as far as the config alone can tell."""

import re
from typing import Any

from jaxvision.errors import UserError

# attention: what a glimpse may be rewarded for, by what the network's head gives.
REWARDS = {"classifier": ("correct",), "decoder": ("final_error", "error_drop")}
# Of these no value may come twice.
UNIQUE = (
    "data.classes",
    "data.class_colors",
    "data.attributes",
    "data.test_cities",
    "heading.base",
    "heading.neck",
    "heading.head",
)
MOST_CLASSES = 254  # of a mask of bytes, one of which is what does not count
WIDEST_GLIMPSE = 2**14  # pixels


def check_together(given: dict[str, Any]) -> None:
    """Checks a flat config, each field of which may be as it is.

    Raises:
      UserError: names the fields that contradict each other, or of which one would do nothing.
    """
    black_white = given.get("data.range", ())
    if black_white and not black_white[0] < black_white[1]:
        raise UserError(
            f"data.range={black_white!r} cannot be: give black, then white, as (0, 4095)"
        )
    for path in UNIQUE:
        names = given.get(path, ())
        if len(set(names)) < len(names):
            raise UserError(f"{path}={names!r} names one of them twice: leave it out once")
    size, crop = given.get("data.image_size"), given.get("data.crop_size")
    if given["task"] in ("segmentation", "classification", "perception") and size and crop > size:
        raise UserError(f"data.crop_size={crop} is larger than data.image_size={size}: lower it")
    of_task = {
        "segmentation": _segmentation,
        "classification": _classification,
        "attention": _attention,
        "keypoints": _keypoints,
        "perception": _perception,
    }
    if given["task"] in of_task:
        of_task[given["task"]](given)


def _segmentation(given: dict[str, Any]) -> None:
    tile, overlap = given["predict.tile"], given["predict.overlap"]
    if overlap >= tile:
        raise UserError(f"predict.overlap={overlap} is not below predict.tile={tile}: lower it")
    classes, colours = given["data.classes"], given["data.class_colors"]
    if len(classes) > MOST_CLASSES or "" in classes:
        raise UserError(
            f"data.classes={classes!r} cannot be: give at most {MOST_CLASSES} names, none empty"
        )
    wrong = [text for text in colours if not re.fullmatch("#[0-9a-fA-F]{6}", text)]
    if wrong:
        raise UserError(f"data.class_colors: {wrong[0]!r} is no colour: write it as '#ff8000'")
    if colours and (len(classes) < 2 or len(colours) - len(classes) not in (0, 1)):
        raise UserError(
            f"data.class_colors has {len(colours)} colours and data.classes {len(classes)} names: "
            "give one a class, of at least two, and at the end possibly one more, of what does not "
            "count"
        )


def _classification(given: dict[str, Any]) -> None:
    whole = given["data.crop_size"] in (0, given["data.image_size"])
    if given["eval.views"] == "ten_crop" and whole:
        raise UserError(
            "eval.views='ten_crop' needs crops smaller than the images: set data.crop_size"
        )


def _attention(given: dict[str, Any]) -> None:
    reward, head, bonus = given["loss.reward"], given["model.head"], given["loss.entropy_bonus"]
    if reward not in REWARDS[head]:
        raise UserError(
            f"loss.reward={reward!r} cannot be with model.head={head}: use one of "
            f"{', '.join(REWARDS[head])}"
        )
    side = given["model.size"] * given["model.scale"] ** (given["model.patches"] - 1)
    if side > WIDEST_GLIMPSE:
        raise UserError(
            f"model.size={given['model.size']}, model.scale={given['model.scale']} and "
            f"model.patches={given['model.patches']}: the last patch would be {side} pixels wide; "
            f"lower one of them, to {WIDEST_GLIMPSE} or less"
        )
    if bonus and not given["model.learn_std"]:
        raise UserError(
            f"loss.entropy_bonus={bonus} does nothing where the std is fixed: set "
            "model.learn_std=True, or the bonus to 0"
        )


def _keypoints(given: dict[str, Any]) -> None:
    widths = given["model.widths"]
    if given["model.name"] == "heatmap" and len(widths) != 3:
        raise UserError(
            f"model.widths={widths!r} cannot be: the heatmap network has 3, at strides 2, 4, 8"
        )


def _perception(given: dict[str, Any]) -> None:
    if given["loss.scores"] == given["loss.votes"] == 0:
        raise UserError("loss.scores=0 and loss.votes=0: nothing would be learned; raise one")
    if given["loss.name"] == "ordinal" and given["data.target"] != "deciles":
        raise UserError("loss.name=ordinal learns deciles: set data.target=deciles")
    if given["data.oversample"] and given["loss.votes"]:
        raise UserError(
            "data.oversample draws photos, and loss.votes trains on pairs: drop one of them"
        )
    _splits_of_photos(given)


def _splits_of_photos(given: dict[str, Any]) -> None:
    fold, folds, cities = given["data.fold"], given["data.folds"], given["data.test_cities"]
    by_city = given["data.split"] == "city"
    total = sum(given[f"data.fractions.{split}"] for split in ("train", "val", "test"))
    if abs(total - 1) > 1e-6:
        raise UserError(f"data.fractions add up to {total:g}, not to 1")
    if cities and not by_city:
        raise UserError(
            f"data.test_cities={tuple(cities)} needs data.split=city: set it, or leave test_cities "
            "out"
        )
    if fold and not folds:
        raise UserError(
            f"data.fold={fold} needs data.folds, how many there are: set it, or leave fold out"
        )
    if folds and by_city:
        raise UserError(
            f"data.folds={folds} are of single photos, and data.split=city keeps cities whole: "
            "leave one of them out"
        )
    if folds and not fold < folds or folds == 1:
        raise UserError(f"data.fold={fold} of data.folds={folds}: folds count from 0, two at least")
