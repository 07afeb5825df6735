"""The model card, README.md of an exported folder."""

import inspect
from typing import Any

from jaxvision.exported.folder import ONNX, WEIGHTS, program_name
from jaxvision.task import Predictor
from jaxvision.tasks import find_system

MISSING = """## Data, terms and limits

Not told at export (`--notes=notes.md`): ask who trained it what data it saw, under which terms it
may be used, and what it is not fit for.
"""


def write(described: dict[str, Any], predictor: Predictor, notes: str, name: str) -> str:
    """The card's text.

    Args:
      described: model.json with its metrics.
      predictor: for the files that it reads.
      notes: on data, terms and limits; '': the card says that it was not told.
      name: of the folder.
    """
    system = inspect.getdoc(find_system(described["task"])).splitlines()[0]
    parts = [
        f"# {name}\n\n{system}",
        _arrays(described),
        _metrics(described["metrics"]),
        notes.strip() or MISSING.strip(),
        _command_line(predictor),
        _with_jax(described),
        _with_onnxruntime(described),
        _made(described),
    ]
    return "\n\n".join(parts) + "\n"


def _arrays(described: dict[str, Any]) -> str:
    arrays = [described["input"], *({"name": n, **a} for n, a in described["outputs"].items())]
    rows = [
        f"| `{a['name']}` | {a['dtype']} [{', '.join(map(str, a['shape']))}] | {a['meaning']} |"
        for a in arrays
    ]
    more = ""
    if described["classes"]:
        more += f"\n\nClasses, in order: {', '.join(described['classes'])}."
    if described["fitted"]:
        values = ", ".join(f"{name} {value:.4g}" for name, value in described["fitted"].items())
        more += f"\n\nChosen on validation (`fitted`): {values}."
    head = "| array | type and shape | what it is |\n|---|---|---|\n"
    return "## What it takes and gives\n\n" + head + "\n".join(rows) + more


def _metrics(metrics: dict[str, Any]) -> str:
    values = metrics["values"]
    rows = [f"| {name} | {values[name]:.4g} |" for name in metrics["headline"]]
    return (
        f"## Metrics\n\nOf this folder, on {metrics['examples']} examples of the "
        f"{metrics['split']} split; all are in `model.json`.\n\n| metric | value |\n|---|---|\n"
        + "\n".join(rows)
    )


def _command_line(predictor: Predictor) -> str:
    source = "film.mp4" if ".mp4" in predictor.extensions else "photo.jpg"
    return f"""## Use it with jaxvision

    python main.py --mode=predict --workdir=<this folder> --input={source} --output=out/
    ... --engine=onnx    # without jax

Another training begins with its weights by `--config.init_from=<this folder>`."""


def _with_jax(described: dict[str, Any]) -> str:
    return f"""## Use it with jax alone

```python
import numpy as np
from jax import export
from safetensors.numpy import load_file

weights = {{k: np.float32(v) for k, v in load_file("{WEIGHTS}").items()}}
program = export.deserialize(bytearray(open("{program_name("cpu")}", "rb").read()))
images = np.zeros({_example(described)}, np.uint8)
outputs = program.call(weights, images)
print({{name: array.shape for name, array in outputs.items()}})
```

`{program_name("cuda")}` is the same for NVIDIA GPUs."""


def _with_onnxruntime(described: dict[str, Any]) -> str:
    beside = f" It reads `{WEIGHTS}` beside it." if described.get("onnx_reads") else ""
    return f"""## Use it with onnxruntime

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{ONNX}")
images = np.zeros({_example(described)}, np.uint8)
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, {{"{described["input"]["name"]}": images}})))
print({{name: array.shape for name, array in outputs.items()}})
```

The same file runs in a browser with onnxruntime-web.{beside}"""


def _example(described: dict[str, Any]) -> tuple[int, ...]:
    """A shape that the model takes."""
    return tuple(described["input"]["least"])


def _made(described: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    return (
        f"## How it was made\n\nStep {described['step']} of a training; weights kept as "
        f"{described['weights_dtype']}. {versions}."
    )
