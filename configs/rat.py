"""Points and heading of a rodent seen from above.

python main.py --config=configs/rat.py --workdir=workdir/rat
python main.py --config=configs/rat.py --workdir=workdir/mine --config.data.path=/data/rats.npz

The first command reached, on 128 held-out built-in pictures, a mean error of 0.45 pixels and a
heading 0.8 degrees off (image moments: 2.6 pixels, 5 degrees; 2 CPU cores, AMD EPYC,
seed 0, jax 0.10.2).
"""

from configs import common


def get_config():
    """A small heatmap network with soft-argmax (Nibali et al. 2018, arXiv 1801.07372)."""
    config = common.get_config()
    config.task = "keypoints"
    config.batch_size = 32

    config.data.reader = "keypoints"
    # Longer side that pictures are scaled to, filled up to a square; 0: as they are, all of one
    # size (built-in pictures have 50).
    config.data.image_size = 0
    # Full-size frames: side of the square about the animal that is cut out, pixels of the file;
    # predict then follows the animal. 0: the whole picture.
    config.data.crop_size = 0
    config.data.color = False  # False: gray
    config.data.animal = "dark"  # dark | light: than the floor
    config.data.split = "time"  # time (blocks, the last is test) | random (by group)
    config.data.test_fraction = 0.2
    config.data.val_fraction = 0.15  # of what is not test
    config.data.group_size = 0  # consecutive pictures made from one; 0: copies found by content
    config.data.synthetic_examples = dict(train=512, val=64, test=128)

    config.augment = dict(
        rotate90=True,
        flip=True,
        noise=6.0,  # of a pixel, standard deviation in grey levels
        shift=4.0,  # at most, pixels
        label_noise=0.0,  # of a point, standard deviation in pixels
        rotation=180.0,  # at most, degrees
        scale=0.15,  # larger or smaller by a factor of up to 1 + scale
        brightness=0.2,
        contrast=0.2,
        wall=0.0,  # probability of a dark wall behind the animal, along a side or two
        occlusion=0.0,  # probability of a patch, dark or of the picture itself, somewhere before it
        blur=0.0,  # of motion or focus, standard deviation, at most, pixels
    )

    config.model.name = "heatmap"  # heatmap | coordinate
    # Channels: of the heatmap net at strides 2, 4 and 8; of each convolution of the coordinate net,
    # for which (16, 32, 64, 64) is usual.
    config.model.widths = (16, 32, 48)

    config.loss = dict(
        heatmap=1.0,  # weight of the cross-entropy with a Gaussian; heatmap only
        sigma=1.5,  # of that Gaussian, pixels
    )

    # Which points (their midpoint) the tail base, neck and head are; () is what is usually called
    # so. heading leads from base to neck (or head), head_direction from neck to head.
    config.heading = dict(base=(), neck=(), head=())

    # A film that training ends with: an npz of `images`, or a video; '' is the test split.
    config.film = dict(path="", fps=30.0, max_frames=3000)

    config.predict = dict(
        batch_size=32,  # a film's memory: about two batches of its frames wait to be drawn
        crop_size=0,  # frames larger than the model's: side of the crop that follows the animal
        layout="plain",  # plain | deeplabcut: of the csv
        h5=False,  # also an h5 as SLEAP's analysis export (needs the extra [tracks])
        film=True,  # needs the extra [video]
        fps=30.0,  # of npz films
        # '' | one_euro (sees the past alone) | kalman (past and future; holds 120 frames more)
        smoothing="",
        smoothing_strength=1.0,  # for animals of some 30 pixels at 30 frames a second; 2: smoother
    )

    config.train.steps = 600  # not epochs: an epoch of a hundred labelled pictures is three steps
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 50
    config.eval.every_epochs = 20.0
    config.eval.batch_size = 64
    config.log.every_steps = 50
    config.checkpoint.best_metric = "mean_pixel_error"
    config.checkpoint.higher_is_better = False
    return config
