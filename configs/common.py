"""The fields that every system shares. A system's config starts from these and sets its own."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    """The shared defaults; every field can be overridden, e.g. --config.train.epochs=50."""
    config = ConfigDict()
    config.task = ""  # jaxvision/tasks/<task>/, or a dotted module of yours
    config.seed = 0  # weights, batches, augmentation and built-in data all follow from it
    # The workdir of another run: its best checkpoint's arrays are where this run begins, as far as
    # their names and shapes fit.
    config.init_from = ""
    config.batch_size = 8  # examples a step, over all devices together

    config.data = ConfigDict()
    config.data.reader = ""  # jaxvision/input_pipeline/readers/<reader>
    config.data.path = ""  # a folder or file of yours; '' is the built-in synthetic data
    config.data.image_size = 128  # pixels; what is done to reach it is the reader's to say
    # (low, high): which values are black and white in pictures of more than 8 bits, as (0, 4095);
    # (): those that each file declares. A picture whose range is not known is refused.
    config.data.range = ()
    # auto | true | false: keep the decoded data on the devices. Whole on each where that is at most
    # resident_gib, else split over each process' devices, else over all; auto streams larger data.
    config.data.resident = "auto"
    config.data.resident_gib = 4.0  # a device
    # Streaming: decoding processes, and as many again for validation; 0 decodes in threads.
    config.data.workers = 0

    config.model = ConfigDict()

    config.train = ConfigDict()
    config.train.epochs = 10
    config.train.steps = 0  # batches; wins over epochs when > 0
    config.train.accumulate_steps = 1  # batches whose mean gradient makes one update
    config.train.ema_decay = 0.0  # > 0: evaluate and keep the moving average of the weights
    config.train.dtype = "float32"  # float32 | bfloat16: of the compute; parameters stay float32
    config.train.steps_per_call = 0  # steps fused in one device call; 0: 1 on CPU, else 10

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"  # adamw | sgd (Nesterov) | radam
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-4  # kernels only, never biases or norms
    config.optimizer.schedule = "cosine"  # cosine | constant | plateau
    config.optimizer.warmup_steps = 0  # updates of linear warm-up
    config.optimizer.encoder_lr_scale = 1.0  # the encoder's learning rate is this times the others'
    config.optimizer.clip_norm = 1.0  # global gradient norm; 0: no clipping
    config.optimizer.plateau_factor = 0.3  # plateau: learning rate times this ...
    config.optimizer.plateau_patience = 5  # ... after so many epochs without a better best_metric

    config.eval = ConfigDict()
    config.eval.every_epochs = 1.0
    config.eval.batch_size = 0  # 0: batch_size
    config.eval.figure_rows = 6  # rows of each figure

    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = 0  # besides one after every evaluation; 0: only those
    config.checkpoint.keep_every_steps = 0  # saved multiples of this are kept too, for --step
    config.checkpoint.best_metric = ""  # of the validation split; decides which step is kept
    config.checkpoint.higher_is_better = True

    config.log = ConfigDict()
    config.log.every_steps = 10
    config.log.wandb = dict(
        project="",  # also log to this Weights & Biases project (extra [wandb]); '': do not
        entity="",  # whose project; '': one's own
    )
    config.early_stop_epochs = 0  # epochs without a better validation metric; 0: never
    return config


def get_encoder(name: str, bn_momentum: float) -> ConfigDict:
    """`config.model.encoder` of the systems that have one of jaxvision/models/encoders.py."""
    encoder = ConfigDict()
    encoder.name = name
    encoder.width = 1.0  # of mobilenet_v2, from 0.35 to 1.4; the others have one width
    # auto | imagenet | '' (from scratch) | a .safetensors or keras .h5 file. auto: imagenet where
    # data.path is set, from scratch on the built-in data, which looks like no photo.
    encoder.weights = "auto"
    # True | False; left out: True where there are weights. A frozen layer has no gradient, no
    # optimizer state, no dropout, and its batch norm stays on the running statistics.
    encoder.freeze = placeholder(bool)
    # Layers that learn compute as in evaluation, too: batch norm on the running statistics of the
    # weights that they began with, no dropout.
    encoder.inference_mode = False
    encoder.unfreeze_from = ""  # a layer's name: it and those after it are trained nevertheless
    encoder.bn_momentum = bn_momentum
    return encoder
