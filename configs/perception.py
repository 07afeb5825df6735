"""How a street feels: perception scores from street photos.

python main.py --config=configs/perception.py --workdir=workdir/perception
python main.py --config=configs/perception.py --workdir=workdir/mine --config.data.path=/data/city

With a frozen MobileNetV2 of 8-bit ImageNet weights, cached_views=2 and epochs=10, the second one
reached a mean Pearson of .760 over eight attributes of 900 street photos with crowd scores
(StreetPsych, 5 folds, seed 0; the standard deviation between folds is .008), and 59 % of the scores
within one decile; a ridge on colour histograms .519 and 43 %, the mean 0 and 30 %.
docs/perception.md has the commands.
"""

from configs import common


def get_config():
    """Transfer learning to scores of photos, or to votes between them (Dubey et al. 2016)."""
    config = common.get_config()
    config.task = "perception"
    config.batch_size = 32

    config.data.reader = "perception"
    config.data.image_size = 0  # side of the photos' middle square, pixels; 0: 256, built-in: 96
    config.data.crop_size = 0  # what the network sees of it; 0: 7/8, that is 224 of 256
    config.data.attributes = ()  # those to predict, as ("safe",); (): all that are scored
    config.data.target = "range"  # range: [1, 10] over the training scores | deciles: 1 to 10
    config.data.split = "image"  # image: by a hash of the name | city: whole cities
    config.data.fractions = dict(train=0.65, val=0.05, test=0.3)
    config.data.test_cities = ()  # of data.split=city; (): chosen by hash
    config.data.folds = 0  # > 0: that many equal parts by hash, of which ...
    config.data.fold = 0  # ... this one is the test split
    # An attribute: training draws photos from every tenth of the range of its scores equally often.
    config.data.oversample = ""
    # > 0: a frozen encoder sees so many views of each photo once (centre, mirrored centre, corners,
    # theirs; 10 at most), and training draws from what it made of them: colours do not vary.
    config.data.cached_views = 0
    config.data.synthetic_examples = dict(train=1024, val=96, test=256)
    config.data.synthetic_pairs = 5.0  # pairs a scene that are voted on, for every attribute

    config.augment = dict(brightness=0.2, contrast=0.2, saturation=0.2)

    config.model.encoder = common.get_encoder("mobilenet_v2", bn_momentum=0.9)
    config.model.hidden = (512, 256)
    config.model.dropout = 0.2
    # They begin differently and learn the same; predictions are their mean, and how they differ
    # adds to the uncertainty.
    config.model.heads = 5

    config.loss = dict(
        name="mse",  # of scores: mse | huber | gaussian (learns its uncertainty) | ordinal
        scores=1.0,  # weight of that loss; 0: votes alone
        votes=0.0,  # weight of the loss on votes between pairs of photos; 0: scores alone
    )

    config.predict = dict(
        batch_size=32,  # photos
        pictures=False,  # also write each photo beside its scores
        map_tiles="",  # address of map tiles for map.html, as https://.../{z}/{x}/{y}.png; '': none
        geojson=True,  # where photos are named lat_lon_id_city
    )

    config.train.epochs = 8
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 20
    config.checkpoint.best_metric = "pearson"
    return config
