"""main.py in the tests' own process: many calls in little time."""

import main

# A model of seconds on a CPU, by the command line.
RAM = (
    "--config=configs/ram.py",
    "--config.batch_size=8",
    "--config.eval.batch_size=8",
    "--config.eval.figure_rows=2",
    "--config.canvas.size=0",
    "--config.data.image_size=12",
    "--config.data.synthetic_examples.train=40",
    "--config.data.synthetic_examples.val=12",
    "--config.data.synthetic_examples.test=13",
    "--config.model.glimpses=2",
    "--config.model.size=4",
    "--config.model.patches=1",
    "--config.model.hidden=8",
    "--config.model.widths=(6,6,8)",
    "--config.model.decoder_width=8",
    "--config.predict.rollouts=2",
    "--config.predict.film=",
    "--config.train.steps=2",
)


def call_main(capfd, *arguments):
    """(exit code, stdout, lines of stderr)."""
    capfd.readouterr()
    code = main.main(["main.py", *map(str, arguments)])
    out, err = capfd.readouterr()
    return code, out, [line for line in err.splitlines() if line.strip()]


def refused(result, *words):
    """Checks that a mistake was told in one line, with these words."""
    code, _, lines = result
    assert code == 2, lines
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    for word in words:
        assert word in lines[0], lines[0]
