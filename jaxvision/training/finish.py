"""The end of a run: curves, the most telling rows, the test split, and what to do next."""

from pathlib import Path

from jaxvision import evaluate, hosts, logs
from jaxvision import workdir as workdir_lib
from jaxvision.console import say
from jaxvision.input_pipeline import loader
from jaxvision.sharding import local, local_mesh
from jaxvision.trained import Trained, load_trained, make_apply
from jaxvision.training.run import Run
from jaxvision.visualize.curves import learning_curves


def finish(run: Run, log: logs.RunLog, test: bool) -> None:
    """Draws the curves and the worst rows, and judges the best checkpoint on the test split.

    Without `test` nothing reads that split.
    """
    run.checkpoints.wait()
    trained = load_trained(run.config, run.workdir)
    size = evaluate.batch_size(run.config)
    if hosts.first():
        best_metric = run.config.checkpoint.best_metric
        curves = learning_curves(log.metrics_path, best_metric)
        log.figure(run.total_steps, "learning_curves", curves)
    if "val" in run.dataset.splits and run.config.eval.figure_rows:
        _draw_highlights(run, trained, size, log)
    if not test:
        say("test: left unread; --mode=evaluate, or this command without --test=false, reads it")
    else:
        _finish_on_test(run, trained, size, log)
    say_results(run.workdir, "results")


def _finish_on_test(run: Run, trained: Trained, size: int, log: logs.RunLog) -> None:
    if "test" in run.dataset.splits:
        _test(run, trained, size, log)
    else:
        say(f"test: {run.dataset.source} has no test split")
    if hosts.first():
        alone = trained._replace(variables=local(trained.variables), mesh=local_mesh(trained.mesh))
        apply = make_apply(alone, run.config.predict.batch_size)
        figures = Path(run.workdir) / "figures"
        run.task.report.finish(apply, run.dataset, figures, trained.fitted)
    hosts.wait()


def say_results(workdir: str, what: str) -> None:
    """Where a run's results are, and the command that uses them."""
    say(f"{what}: {workdir} (figures/, evaluation.json, checkpoints/, parameters.txt)")
    say(
        f"next: python main.py --mode=predict --workdir={workdir} --input=<a picture or a "
        "folder> --output=<a folder>"
    )


def _draw_highlights(run: Run, trained: Trained, size: int, log: logs.RunLog) -> None:
    config, report = run.config, run.task.report
    feed = loader.open_feed(run.dataset, "val", config, run.mesh)
    measured = evaluate.measure(run.metrics, trained.variables, feed, size, config.seed)
    if not hosts.first():
        return
    variables = local(trained.variables)
    for name, numbers in report.highlights(measured, trained.fitted).items():
        rows = loader.host_rows(feed, numbers[: config.eval.figure_rows])
        drawn = evaluate.draw(report, variables, rows, config.seed, trained.fitted)
        for figure, image in drawn.items():
            log.figure(trained.step, name if len(drawn) == 1 else f"{name}_{figure}", image)


def _test(run: Run, trained: Trained, size: int, log: logs.RunLog) -> None:
    report, fitted = run.task.report, trained.fitted
    feed = loader.open_feed(run.dataset, "test", run.config, run.mesh)
    measured = evaluate.measure(run.metrics, trained.variables, feed, size, run.config.seed)
    if not hosts.first():
        return
    values = report.metrics(measured, fitted)
    log.metrics(run.total_steps, {f"test/{name}": value for name, value in values.items()})
    for name, image in report.figures(measured, fitted).items():
        log.figure(run.total_steps, f"test_{name}", image)
    tables = report.tables(measured, fitted)
    data = logs.about_data(run.dataset, run.config, workdir_lib.read_config(run.workdir))
    result = logs.Evaluation("test", trained.step, feed.split.examples, data, values, tables)
    logs.say_evaluation(result, report.headline)
    logs.write_evaluation(run.workdir, result)
