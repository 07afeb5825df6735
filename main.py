"""Train, evaluate or use any of the systems: see README.md for the commands."""

import sys

from absl import flags
from ml_collections import config_flags

from jaxvision import workdir
from jaxvision.errors import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "", "The run's folder.")
flags.DEFINE_enum(
    "mode", "train", ["train", "evaluate", "predict", "export_weights", "serve"], "The job."
)
flags.DEFINE_enum("split", "test", ["train", "val", "test", "all"], "evaluate: examples to judge.")
flags.DEFINE_string("input", "", "predict: a file, or a folder of them.")
flags.DEFINE_integer("step", 0, "evaluate, predict: the checkpoint to use; 0: the best.")
flags.DEFINE_string("host", "127.0.0.1", "serve: where to listen; others need --token_file.")
flags.DEFINE_integer("port", 8000, "serve: where to listen; 0: a free one.")
flags.DEFINE_string("token_file", "", "serve: holds the token that requests must have.")
flags.DEFINE_float("reload", 0.0, "serve: seconds between looks for a better checkpoint; 0: never.")
flags.DEFINE_integer("queue", 128, "serve: requests that may wait or be in work.")
flags.DEFINE_float("deadline", 10.0, "serve: seconds until a request is answered or refused.")
flags.DEFINE_string("output", "", "predict, export_weights: where to; '': into the workdir.")


def parse_flags(argv: list[str]) -> None:
    """Parses argv. `--config` is a config file; without it, the workdir's config.json is used.

    Raises:
      UserError: an unknown flag or config field, a wrong type, no workdir.
    """
    try:
        FLAGS(argv, known_only=True)
        given = any(arg.lstrip("-").split("=")[0] == "config" for arg in argv[1:])
        # Published weights can be exported without a run.
        if not FLAGS.workdir and not (given and FLAGS.mode == "export_weights"):
            raise UserError("no --workdir given: name the run's folder, as --workdir=workdir/unet")
        if given:
            config_flags.DEFINE_config_file("config")
        else:
            # serve takes several folders; what is overridden concerns the first.
            folder = FLAGS.workdir.split(",")[0] if FLAGS.mode == "serve" else FLAGS.workdir
            config_flags.DEFINE_config_dict("config", workdir.read_config(folder))
        rest = FLAGS(argv)
        FLAGS.config.lock()
    except flags.Error as error:
        # Of a config file that raises, the message is a traceback, and its last line tells.
        told = str(error).strip().splitlines()[-1]
        raise UserError(told.removeprefix("jaxvision.errors.UserError: ")) from error
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        reason = error.args[0] if error.args else error  # the text, or the error that has it
        reason = reason.args[0] if isinstance(reason, KeyError) else reason
        raise UserError(f"config: {' '.join(str(reason).split())}") from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}: every argument is --name=value")


def run() -> None:
    """Does what the flags ask; the heavy imports wait until the flags are known to be right."""
    workdir.keep_compiled_programs()
    config, folder = FLAGS.config, FLAGS.workdir
    if FLAGS.mode == "train":
        from jaxvision.train import train

        train(config, folder)
    elif FLAGS.mode == "evaluate":
        from jaxvision.evaluate import evaluate_workdir

        evaluate_workdir(config, folder, FLAGS.split, FLAGS.step)
    elif FLAGS.mode == "predict":
        from jaxvision.predict import predict_files

        predict_files(config, folder, FLAGS.input, FLAGS.output, FLAGS.step)
    elif FLAGS.mode == "serve":
        from jaxvision.serve.server import Options, serve

        serve(config, folder, Options(**{name: FLAGS[name].value for name in Options._fields}))
    else:
        from jaxvision.export.encoder_weights import export_weights

        export_weights(config, folder, FLAGS.output)


def main(argv: list[str]) -> int:
    """Runs and returns the exit code: 0, 2 for a user's mistake, 1 for a run that diverged."""
    try:
        parse_flags(argv)
        run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
