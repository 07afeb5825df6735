"""Config files that cannot work, one's own and saved ones; and those of earlier code, which can."""

import json

import pytest

from configs import common, ram
from jaxvision import workdir
from jaxvision.config import check as check_config
from tests.command import refused


def test_a_config_file_of_ones_own_that_cannot_work(call, tmp_path):
    for text, words in [
        ("def get_config(: pass", "invalid syntax"),
        ("def get_config():\n    return 1 / 0", "division by zero"),
        ("import no_such_module", "no_such_module"),
        (
            "from configs import unet\ndef get_config():\n    config = unet.get_config()\n"
            "    config.train.epoch = 5\n    return config",
            "train.epoch=5 is no field of task 'segmentation': did you mean train.epochs?",
        ),
        (
            "from configs import unet\ndef get_config():\n    config = unet.get_config()\n"
            "    del config.train.steps\n    return config",
            "the config has no train.steps",
        ),
    ]:
        path = tmp_path / "mine.py"
        path.write_text(text)
        refused(call(f"--workdir={tmp_path / 'w'}", f"--config={path}"), words)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.hidden_", "there is no field 'hidden_': did you mean \"hidden\""),
        ("modell.core", "there is no field 'modell': did you mean \"model\""),
        ("model.zzz", "there is no field 'zzz'"),
    ],
)
def test_an_override_of_a_field_that_is_not_there(call, tmp_path, override, words):
    asked = (f"--workdir={tmp_path / 'w'}", "--config=configs/ram.py", f"--config.{override}=1")
    refused(call(*asked), words)


def saved(folder, change, config=None):
    """A workdir whose config.json was changed by hand, or by time."""
    folder.mkdir()
    text = json.dumps({**(config or ram.get_config()).to_dict(), workdir.BEGUN: {}})
    (folder / "config.json").write_bytes(change(json.loads(text)))
    return folder


def put(path, value):
    def change(config):
        *sections, name = path.split(".")
        inner = config
        for section in sections:
            inner = inner[section]
        inner[name] = value
        return json.dumps(config).encode()

    return change


SAVED = [
    (lambda config: b"", "is not valid JSON"),
    (lambda config: b"{", "is not valid JSON"),
    (lambda config: b"\xff\xfe\x00", "is not valid JSON"),
    (lambda config: b"[1, 2]", "holds no config"),
    (lambda config: b"3", "holds no config"),
    (lambda config: b"{}", "task='' is unknown"),
    (put("task", None), "task"),
    (put("task", "drive"), "task='drive' is unknown"),
    (put("batch_size", "many"), "batch_size='many'"),
    (put("batch_size", -1), "batch_size=-1"),
    (put("train.ema_decay", 7), "train.ema_decay"),
    (put("train.dtype", "int8"), "train.dtype='int8'"),
    (put("model.widths", ["a", "b", "c"]), "model.widths"),
    (put("model.widths", 5), "model.widths"),
    (put("model", 5), "holds no checkpoint"),  # of which today's defaults are left
    (put("data.reader", "gone"), "data.reader='gone'"),
]


@pytest.mark.parametrize("mode", ["evaluate", "train"])
@pytest.mark.parametrize(("change", "words"), SAVED)
def test_a_saved_config_that_cannot_work(call, tmp_path, change, words, mode):
    if mode == "train" and "checkpoint" in words:
        return
    folder = saved(tmp_path / "run", change)
    refused(call(f"--workdir={folder}", f"--mode={mode}"), words)


def test_saved_configs_lie_over_todays_defaults(tmp_path, capsys):
    def change(config):
        del config["model"]["policy_sees"], config["log"]["wandb"]
        config["model"]["old_field"] = 3
        return json.dumps(config).encode()

    folder = saved(tmp_path / "run", change, ram.get_config("mnist"))
    config = workdir.read_config(str(folder))
    check_config.check(config)
    assert config.model.policy_sees == "state" and config.data.path == ""
    assert config.model.head == "classifier" and "old_field" not in config.model
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4 and all(line.startswith("note: ") for line in out), out
    assert sum("came since then" in line for line in out) == 3
    assert any("model.old_field=3 is no field any more" in line for line in out)
    workdir.read_config(str(folder))
    assert not capsys.readouterr().out  # told once
    workdir.check_same_run(ram.get_config("mnist"), str(folder))


def test_fields_of_a_system_of_ones_own_are_kept(tmp_path):
    config = common.get_config()
    config.task, config.data.reader = "mine.task", "mine.reader"
    config.mine = dict(colour="red")
    folder = saved(tmp_path / "run", lambda config: json.dumps(config).encode(), config)
    assert workdir.read_config(str(folder)).mine.colour == "red"
