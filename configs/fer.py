"""Facial expressions from small pictures of faces.

python main.py --config=configs/fer.py --workdir=workdir/fer
python main.py --config=configs/fer.py:resnet18 --workdir=workdir/mine --config.data.path=/data/fer

On FER2013 (the Kaggle folders, 25,515 pictures to train on) the default network reached .609 on the
3,589 test pictures; the most common class has .249. Seed 0, jax 0.10.2, 41 minutes on 2 CPU cores
beside other work. configs/fer.py:cnn5_wide reached .653, with the mirror image .660 (means of three
seeds), in 66 minutes, beside other work too. On the built-in faces the default reaches .971 in 3
minutes.
"""

from configs import common
from jaxvision.errors import UserError

# What follows the colon: the fields in which a variant differs from the default, a 4-layer CNN.
VARIANTS = {
    "cnn4": {},
    "cnn5": {"model.encoder.name": "cnn5"},
    # The long recipe for a CPU: an hour on two cores (docs/fer.md).
    "cnn5_wide": {
        "model.encoder.name": "cnn5_wide",
        "model.dropout": 0.3,
        "batch_size": 128,
        "augment.rotate": 12.0,
        "augment.zoom": 0.12,
        "augment.shift": 0.08,
        "augment.erase": 0.25,
        "augment.mixup": 0.2,
        "loss.label_smoothing": 0.1,
        "optimizer.learning_rate": 3e-3,
        "optimizer.weight_decay": 1e-2,
        "train.ema_decay": 0.999,
        "train.epochs": 40,
        "eval.views": "flip",
    },
    "se_cnn": {"model.encoder.name": "se_cnn"},
    "vgg16_bn": {"model.encoder.name": "vgg16_bn"},
    "resnet18": {"model.encoder.name": "resnet18_small"},
    "resnet34": {"model.encoder.name": "resnet34_small"},
    "resnet50": {"model.encoder.name": "resnet50_small"},
    "resnet18_se": {"model.encoder.name": "resnet18_small", "model.block_attention": "se"},
    "resnet18_cbam": {"model.encoder.name": "resnet18_small", "model.block_attention": "cbam"},
    "resnet18_mixed": {
        "model.encoder.name": "resnet18_small",
        "model.attention": ("", "sa", "cbam", "transformer"),
    },
}
# Encoders with published weights, on larger pictures.
PRETRAINED = ("vgg16", "vgg19", "resnet50", "resnet101", "mobilenet_v2") + tuple(
    f"efficientnet_b{i}" for i in range(8)
)


def get_config(variant: str = "cnn4"):
    """The config of a variant: one of VARIANTS, 'vgg_face', or '<encoder>_imagenet'.

    vgg_face is the recipe of Khaireddin and Chen 2021 (arXiv 2105.03588), who report 73.28 % on
    FER2013's private test set; see `_vgg_face` for what differs.
    """
    config = _default()
    if variant == "vgg_face":
        _vgg_face(config)
    elif variant.removesuffix("_imagenet") in PRETRAINED and variant.endswith("_imagenet"):
        _pretrained(config, variant.removesuffix("_imagenet"))
    elif variant in VARIANTS:
        config.update_from_flattened_dict(VARIANTS[variant])
    else:
        known = (*VARIANTS, "vgg_face", *(f"{name}_imagenet" for name in PRETRAINED))
        raise UserError(f"configs/fer.py:{variant} is unknown: use one of {', '.join(known)}")
    return config


def _default():
    config = common.get_config()
    config.task = "classification"
    config.batch_size = 64

    config.data.reader = "expressions"
    config.data.image_size = 48  # the shorter side is scaled to it, the middle of the longer kept
    config.data.channels = 1  # 1 gray, 3 RGB
    config.data.crop_size = 0  # side of what the network sees; 0: all. In training at random places
    config.data.balanced = False  # draw every class equally often in training
    config.data.tfds = ""  # name of a TFDS data set, which is then kept under data.path
    config.data.label = ""  # column of the class in parquet, metadata or TFDS; '': label
    config.data.synthetic_examples = dict(train=4096, val=512, test=512)

    config.augment = dict(
        flip=True,
        rotate=5.0,  # degrees, to either side
        zoom=0.05,  # by a factor of up to 1 + zoom
        shift=0.05,  # of the side
        brightness=0.2,
        contrast=0.2,
        saturation=0.0,
        erase=0.0,  # probability of noise over a rectangle
        webcam=0.0,  # probability of dark, side light, blur, JPEG or a turn, of any strength
        mixup=0.0,  # alpha of the Beta distribution; 0: none
        cutmix=0.0,
    )

    config.model.encoder = common.get_encoder("cnn4", bn_momentum=0.9)
    config.model.encoder.weights = ""
    config.model.attention = ()  # a kind of models/attention.py, or '', after each stage
    config.model.block_attention = ""  # in every residual or MBConv block
    config.model.head_attention = ""  # before the pooling
    config.model.hidden = ()  # widths of layers between pooling and head
    config.model.dropout = 0.2  # of the pooled features and hidden layers
    config.model.remat = False  # compute blocks twice and keep less for the gradient

    config.loss = dict(
        name="cross_entropy",  # cross_entropy | focal
        label_smoothing=0.0,
        focal_gamma=2.0,
        class_weights="none",  # none | sqrt | balanced: against rare classes being passed over
    )

    config.predict = dict(
        faces="auto",  # auto | always | never: look for faces; auto: not in small square pictures
        detector="",  # path of YuNet's face_detection_yunet_*.onnx; '': OpenCV's Haar cascade
        margin=0.1,  # added to each side of a face found, as a share of it
        every_seconds=0.5,  # between the frames of a film that are looked at
        batch_size=32,
        pictures=True,  # also write each picture with its faces marked
    )

    config.train.epochs = 12
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 1e-3
    config.optimizer.warmup_steps = 100
    config.eval.views = ""  # flip | ten_crop: also judge the mean over several views of each image
    # True: --mode=evaluate also judges each picture dark, lit from a side, blurred, compressed and
    # turned, at three strengths, and tells errors by blur and size.
    config.eval.corruptions = False
    config.eval.batch_size = 256
    config.eval.figure_rows = 12
    config.checkpoint.best_metric = "accuracy"
    return config


def _pretrained(config, name):
    """Published weights: first the new head alone learns, or with unfreeze_from more of it."""
    config.model.encoder = common.get_encoder(name, bn_momentum=0.99)
    config.data.image_size = 96
    config.train.epochs = 10
    config.optimizer.learning_rate = 1e-3


def _vgg_face(config):
    """Their network and training; theirs differs in these points.

    They train on all ten crops of every picture at once; here a random crop is drawn. Their last 50
    epochs on training and validation data together are not done: nothing would be left to choose a
    step on.
    """
    config.model.encoder = common.get_encoder("vgg_face", bn_momentum=0.9)
    config.model.encoder.weights = ""
    config.model.hidden = (4096, 4096)
    config.model.dropout = 0.5
    config.data.crop_size = 40
    config.augment.update(rotate=10.0, zoom=0.2, shift=0.2, erase=0.5, brightness=0.0, contrast=0.0)
    config.eval.views = "ten_crop"
    config.train.epochs = 300
    config.train.dtype = "bfloat16"
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.01
    config.optimizer.weight_decay = 1e-4
    config.optimizer.clip_norm = 0.0
    config.optimizer.warmup_steps = 0
    config.optimizer.schedule = "plateau"
    config.optimizer.plateau_factor = 0.75
    config.optimizer.plateau_patience = 5
