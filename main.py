"""Train, evaluate or use any of the systems: see README.md for the commands."""

import gc
import os
import signal
import sys
from collections.abc import Callable

if __name__ == "__main__":  # Ctrl-C while Python still imports: one line, too
    signal.signal(signal.SIGINT, lambda *_: (os.write(2, b"stopped: SIGINT\n"), os._exit(130)))
    from jaxvision import large_pages

    large_pages.start_again()
    gc.disable()  # until imports are over: they leave none, and a tenth of their time looks for it

from absl import flags
from ml_collections import config_flags

from jaxvision import failures, hosts, workdir
from jaxvision.config.arguments import as_user_errors
from jaxvision.config.check import check
from jaxvision.engine import ENGINES, check_is_run, read_config
from jaxvision.errors import UserError

# The flags that mean something to each mode, beside workdir, mode and config.
MODES = {
    "train": ("test",),
    "evaluate": ("split", "step", "engine", "output"),
    "predict": ("input", "output", "step", "engine", "format", "shard_rows", "workers"),
    "export": ("output", "step", "weights_dtype", "onnx_weights", "notes"),
    "export_weights": ("output",),
    "serve": ("engine", "host", "port", "token_file", "reload", "queue", "deadline"),
}
PATHS = ("workdir", "input", "output", "notes", "token_file")
HELP = """\
Trains, evaluates and uses five vision systems.

  python main.py --config=configs/unet.py --workdir=workdir/unet       train; run again: resumes
  python main.py --config=configs/fer.py:cnn5 --workdir=workdir/fer --config.data.path=/data/faces
  python main.py --mode=evaluate --workdir=workdir/unet                judge on the test split
  python main.py --mode=predict --workdir=workdir/unet --input=photos/ --output=masks/
  python main.py --mode=predict --workdir=zoo/fer '--input=faces/{{000..099}}.tar' --output=out/
  python main.py --mode=export --workdir=workdir/unet --output=model/  without flax, or as ONNX
  python main.py --mode=export_weights --workdir=workdir/unet --output=encoder.safetensors
  python main.py --mode=serve --workdir=workdir/unet,workdir/fer       HTTP, a live camera, a page

Every argument is --name=value:

{flags}
  --config=FILE[:VARIANT]  configs/unet.py, fer.py, scenes.py, perception.py, rat.py or ram.py;
        left out: the config that the workdir was begun with
  --config.FIELD=VALUE     any field of the config, as --config.train.epochs=50;
        configs/common.py and the system's own file say what each is for

docs/troubleshooting.md: exit codes, what a resumed run may change, what to do when something fails.
"""


def define_flags() -> flags.FlagValues:
    """Our flags, anew for each call of `main`."""
    values = flags.FlagValues()
    define = {"flag_values": values}
    flags.DEFINE_string(
        "workdir", "", "The run's folder, or (evaluate, predict) an exported model's.", **define
    )
    flags.DEFINE_enum("mode", "train", list(MODES), "The job.", **define)
    splits = ["train", "val", "test", "all"]
    flags.DEFINE_enum("split", "test", splits, "evaluate: examples to judge.", **define)
    about = "train: judge the test split, and draw films, at the end; false: later."
    flags.DEFINE_bool("test", True, about, **define)
    about = "predict: a file or a folder of them; for parquet see docs/predict_many.md."
    flags.DEFINE_string("input", "", about, **define)
    flags.DEFINE_integer(
        "step",
        0,
        "evaluate, predict, export: the checkpoint to use; 0: the best.",
        lower_bound=0,
        **define,
    )
    about = "evaluate, predict, export, export_weights: where to; '': into the workdir."
    flags.DEFINE_string("output", "", about, **define)
    _define_export_flags(define)
    _define_host_flags(define)
    _define_parquet_flags(define)
    serve = (
        (flags.DEFINE_string, "host", "127.0.0.1", "where to listen; others need --token_file."),
        (flags.DEFINE_integer, "port", 8000, "where to listen; 0: a free one."),
        (flags.DEFINE_string, "token_file", "", "holds the token that requests must have."),
        (flags.DEFINE_float, "reload", 0.0, "seconds between looks for a better checkpoint."),
        (flags.DEFINE_integer, "queue", 128, "requests that may wait or be in work."),
        (flags.DEFINE_float, "deadline", 10.0, "seconds until a request is answered or refused."),
    )
    for add, name, default, about in serve:
        add(name, default, f"serve: {about}", **define)
    return values


def _define_host_flags(define: dict[str, flags.FlagValues]) -> None:
    about = "train, evaluate: host:port of process 0, of several processes."
    flags.DEFINE_string("coordinator", "", about, **define)
    about = "train, evaluate: how many; 0: as SLURM, Open MPI or Kubernetes tell, else 1."
    flags.DEFINE_integer("processes", 0, about, lower_bound=0, **define)
    about = "train, evaluate: which this is, from 0; -1: as those tell."
    flags.DEFINE_integer("process", -1, about, lower_bound=-1, **define)


def _define_export_flags(define: dict[str, flags.FlagValues]) -> None:
    about = "evaluate, predict, serve: onnx runs a model.onnx; predict: ray, a cluster."
    flags.DEFINE_enum("engine", "auto", ENGINES, about, **define)
    dtypes = ["float32", "float16"]
    flags.DEFINE_enum("weights_dtype", "float32", dtypes, "export: weights as kept.", **define)
    about = "export: weights of model.onnx; beside: it reads weights.safetensors."
    flags.DEFINE_enum("onnx_weights", "inside", ["inside", "beside"], about, **define)
    about = "export: a text on data, terms and limits for the model card."
    flags.DEFINE_string("notes", "", about, **define)


def _define_parquet_flags(define: dict[str, flags.FlagValues]) -> None:
    about = "predict: parquet for millions; auto: for tables, tars and --engine=ray."
    flags.DEFINE_enum("format", "auto", ["auto", "files", "parquet"], about, **define)
    several = (
        ("shard_rows", "predict: pictures a parquet file; 0: 1024, or as begun."),
        ("workers", "predict, ray: processes that hold the model; 0: as many as fit."),
    )
    for name, about in several:
        flags.DEFINE_integer(name, 0, about, lower_bound=0, **define)


def help_text(values: flags.FlagValues) -> str:
    """What --help shows."""
    lines = []
    for name in values:
        flag = values[name]
        known = getattr(flag.parser, "enum_values", None)
        value = "|".join(known) if known else flag.flag_type().upper()
        about = flag.help.split(">: ")[-1]  # absl puts the choices before it
        lines.append(f"  --{name}={value}\n        {about} Default: {flag.default!r}.")
    return HELP.format(flags="\n".join(lines))


def wants_help(argv: list[str]) -> bool:
    """Whether the arguments ask for help, however they spell it."""
    asked = {"help", "helpshort", "helpfull", "h", "?"}
    return any(arg.startswith("-") and arg.lstrip("-").split("=")[0] in asked for arg in argv[1:])


def parse_flags(argv: list[str], values: flags.FlagValues) -> None:
    """Parses argv. `--config` is a config file; without it, the workdir's config.json is used.

    Raises:
      UserError: an unknown flag or config field, a wrong type or value, no workdir.
    """
    define = {"flag_values": values, "sys_argv": argv}
    argv = define["sys_argv"] = _last_of_each(argv)
    with as_user_errors():
        values(argv, known_only=True)
        _expand_home(values)
        _refuse_flags_of_other_modes(values)
        given = any(arg.lstrip("-").split("=")[0] == "config" for arg in argv[1:])
        # Published weights can be exported without a run.
        if not values.workdir and not (given and values.mode == "export_weights"):
            raise UserError("no --workdir given: name the run's folder, as --workdir=workdir/unet")
        if given:
            _check_config_file(argv)
            config_flags.DEFINE_config_file("config", **define)
        else:
            # serve takes several folders; what is overridden concerns the first.
            folder = values.workdir.split(",")[0] if values.mode == "serve" else values.workdir
            config = read_config(folder)
            config_flags.DEFINE_config_dict("config", config, **define)
        rest = values(argv)
        _expand_home(values)
        values.config.lock()
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}: every argument is --name=value")
    check(values.config)
    flags.FLAGS.mark_as_parsed()  # grain's workers ask for it


def _last_of_each(argv: list[str]) -> list[str]:
    """The arguments, of a field that is given twice the last: absl would join two tuples."""
    names = [arg.split("=")[0] for arg in argv]
    last = {name: i for i, name in enumerate(names)}
    return [a for i, a in enumerate(argv) if "=" not in a or not i or last[names[i]] == i]


def _check_config_file(argv: list[str]) -> None:
    given = next((a.split("=", 1)[1] for a in argv if a.lstrip("-").startswith("config=")), None)
    path = (given or "").split(":")[0]
    if given is not None and not os.path.isfile(path):
        raise UserError(f"--config={given}: {path!r} is no file; give one, as configs/unet.py")


def _expand_home(values: flags.FlagValues) -> None:
    """A shell leaves the '~' of --workdir=~/run as it is."""
    for name in PATHS:
        parts = values[name].value.split(",")  # serve takes several workdirs
        values[name].value = ",".join(map(os.path.expanduser, parts))


def _refuse_flags_of_other_modes(values: flags.FlagValues) -> None:
    for name in values:
        modes = [mode for mode, names in MODES.items() if name in names]
        if values[name].present and modes and values.mode not in modes:
            raise UserError(
                f"--{name} means nothing with --mode={values.mode}, but with {', '.join(modes)}: "
                "leave it out"
            )


def find_job(values: flags.FlagValues) -> Callable[[], None]:
    """What the flags ask for; the heavy imports wait until the flags are known to be right."""
    config, folder = values.config, values.workdir
    if values.mode in ("train", "evaluate"):
        hosts.connect(values.coordinator, values.processes, values.process)
    elif values.coordinator or values.processes > 1 or values.process > 0:
        raise UserError(
            f"--mode={values.mode} is done by one process: leave out --coordinator, --processes "
            "and --process"
        )
    if values.mode == "predict":  # which may go without jax
        from jaxvision.batch_inference import run

        if run.wants_parquet(values.input, values.engine, values.format):
            many = run.Options(*(values[name].value for name in run.Options._fields))
            return lambda: run.predict_many(config, folder, many)
        from jaxvision.predict import predict_files

        where = (values.input, values.output, values.step, values.engine)
        return lambda: predict_files(config, folder, *where)
    workdir.keep_compiled_programs()
    if values.mode == "evaluate":
        from jaxvision.evaluate import evaluate_workdir

        what = (values.split, values.step, values.engine, values.output)
        return lambda: evaluate_workdir(config, folder, *what)
    if values.mode == "serve":
        from jaxvision.serve.options import Options
        from jaxvision.serve.server import serve

        options = Options(*(values[name].value for name in Options._fields))
        return lambda: serve(config, folder, options)
    check_is_run(folder)
    if values.mode == "train":
        from jaxvision.train import train

        return lambda: train(config, folder, values.test)
    if values.mode == "export":
        from jaxvision.export.write import Options, export_model

        options = Options(values.weights_dtype, values.onnx_weights, values.notes)
        return lambda: export_model(config, folder, values.output, values.step, options)
    from jaxvision.export.encoder_weights import export_weights

    return lambda: export_weights(config, folder, values.output)


def main(argv: list[str]) -> int:
    """Runs and returns the exit code, which docs/troubleshooting.md lists.

    May be called any number of times in a process.
    """
    try:
        values = define_flags()
        if wants_help(argv):
            print(help_text(values))
            return 0
        parse_flags(argv, values)
        job = find_job(values)
        if __name__ == "__main__":  # imports are over; in them an exception would not come through
            failures.listen()
            gc.freeze()  # what was imported stays
            gc.enable()
        job()
        hosts.disconnect()
    except SystemExit as stop:  # training was stopped, and has said so
        hosts.disconnect()
        return stop.code
    except failures.KNOWN as error:
        code, line = hosts.failed(error, failures.told)
        if __name__ == "__main__":
            failures.last_word(line)
            hosts.exit_now(code)
        else:
            print(line, file=sys.stderr)
        return code
    return 0


if __name__ == "__main__":
    failures.end(main(sys.argv))
