"""U-Net building footprints from aerial photos.

python main.py --config=configs/unet.py --workdir=workdir/unet
python main.py --config=configs/unet.py --workdir=workdir/mine --config.data.path=/data/aerial
python main.py --config=configs/unet.py:classes --workdir=workdir/classes   # roads and trees too

The first command reached a test IoU of .926 on 64 held-out built-in scenes (mean of seeds 0 to 2),
in 2 min 40 s, installing included, on 2 CPU cores (AMD EPYC, jax 0.10.2).
"""

from configs import common
from jaxvision.errors import UserError


def get_config(variant: str = "buildings"):
    """The U-Net on a MobileNetV2 encoder (Ronneberger 2015, arXiv 1505.04597; 1801.04381).

    Variants: buildings; classes, of the built-in scenes or with `data.path` and `data.classes` of
    yours, where the best step is the one of the highest mean IoU over all classes.
    """
    config = _buildings()
    if variant == "classes":
        config.data.classes = ("background", "building", "road", "tree")
        config.checkpoint.best_metric = "mean_iou"
    elif variant != "buildings":
        raise UserError(f"configs/unet.py:{variant} is unknown: use one of buildings, classes")
    return config


def _buildings():
    config = common.get_config()
    config.task = "segmentation"
    config.batch_size = 8

    config.data.reader = "aerial"
    config.data.image_size = 128  # side of the square tiles that images are cut into, in pixels
    config.data.synthetic_examples = dict(train=1024, val=32, test=64)
    config.data.crop_size = 0  # side of the random training crop; 0: the whole tile
    # (): a mask says building or not. One name: so it does, and of COCO's categories or GeoJSON's
    # classes this one is to be found. Several names, as ("background", "building", "road"): masks
    # hold the numbers of these classes, from 0, and 255 where nothing counts; outlines have their
    # names, and the first is what lies outside of all. Built-in scenes have these three and "tree".
    config.data.classes = ()
    config.data.class_property = "class"  # of GeoJSON's features; read where there are `classes`
    # Of masks that are in colours: one a class, as ("#000000", "#ff0000", "#0000ff"), and possibly
    # one more, of what does not count. (): masks hold numbers.
    config.data.class_colors = ()

    config.augment = dict(
        zoom=0.0,  # the crop is enlarged or reduced by a factor of up to 1 + zoom
        flip=True,
        rotate90=True,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
    )

    # keras' momentum, .999, is too slow to settle in a run of some hundred steps.
    config.model.encoder = common.get_encoder("mobilenet_v2", bn_momentum=0.9)
    config.model.encoder.width = 0.5  # 1.0 is a little better and half as fast on a CPU
    config.model.decoder_widths = (64, 48, 32, 16, 8)  # from stride 16 to full resolution

    config.loss = dict(
        name="bce_dice",  # bce_dice | bce | focal_tversky
        tversky_alpha=0.7,  # weight of missed pixels (false negatives); the others get 1 - alpha
        tversky_gamma=0.75,
    )

    config.predict = dict(
        tile=512,  # pixels, a multiple of 128; larger images are predicted in overlapping tiles
        overlap=64,
        batch_size=4,  # tiles
        probability=False,  # also write the probability as an 8-bit PNG
        polygons=False,  # also write footprints as GeoJSON (needs the extra [geo])
        side_by_side=True,
        tolerance=1.0,  # by which polygon outlines may be simplified, pixels
        min_area=0.0,  # smaller footprints are left out, pixels
    )

    config.train.epochs = 5
    config.optimizer.learning_rate = 6e-3
    config.optimizer.warmup_steps = 20
    config.eval.every_epochs = 1.0
    config.checkpoint.best_metric = "iou"
    return config
