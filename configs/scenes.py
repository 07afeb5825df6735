"""Kinds of places, or anything else in class folders, from photos.

python main.py --config=configs/scenes.py --workdir=workdir/scenes --config.data.path=/data/places

The folders are read as configs/fer.py's are: /data/places/<class>/*.jpg, or with train, val and
test above. `accuracy` and `top5_accuracy` are precision@1 and @5 as scene recognition reports them.
"""

from configs import fer


def get_config(encoder: str = "resnet50"):
    """A published encoder (`configs/scenes.py:<encoder>`) with a new head; 224 pixel RGB."""
    config = fer.get_config(f"{encoder}_imagenet")
    config.data.reader = "scenes"
    config.data.image_size = 256
    config.data.crop_size = 224
    config.data.channels = 3
    config.data.synthetic_examples = dict(train=512, val=64, test=64)
    config.augment.update(rotate=5.0, zoom=0.3, shift=0.05, saturation=0.2)
    config.loss.label_smoothing = 0.1
    config.predict.faces = "never"
    return config
