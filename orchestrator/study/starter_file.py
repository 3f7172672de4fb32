"""The text of a new sweep file, with comments on what to change."""

from pathlib import Path
from typing import Any, get_args

from orchestrator.study.parts.data_config import Data
from orchestrator.study.parts.model_config import Model
from orchestrator.study.parts.user_code_config import OWN_CODE

_NEEDED = {
    "image_folder": "path: ./images",
    "text": "path: ./book.txt, context: 64",
    "table": "dataset: diabetes",
    "torchvision": "architecture: resnet18",
}
"""The keys that a built-in network or data set requires, with an example."""
_FITTING_MODEL = {"text": "transformer", "sorting": "transformer"}
_FITTING_LOSS = {"table": "mse"}


def starter_file(file: Path, schema: str, data: str, model: str | None = None, loss: str | None = None) -> str:
    """Returns the text of a sweep file that `load_sweep` accepts if the names do.

    Args:
        file: the path of the file, which names the sweep.
        schema: the path of the schema of sweep files, as seen from the file.
        data: the name of a built-in data set, or of the user's own function.
        model: the name of a built-in network, or of the user's own class; by default one that fits the data.
        loss: the name of a built-in loss, or of the user's own function; by default one that fits the data.
    """
    model = model or _FITTING_MODEL.get(data, "mlp")
    loss = loss or _FITTING_LOSS.get(data, "cross_entropy")
    return f"""\
# yaml-language-server: $schema={schema}
# One trial for every combination of the values under grid.
#   hessian-dynamics plan {file}     lists the trials and estimates their time
#   hessian-dynamics run {file}      trains them; repeat it to continue
name: {file.stem}
description: What this sweep is about.
trial:                                  # the settings that every trial starts from
  # {_about(model, Model, "Your class; other keys are passed to its constructor, as in {name: ..., width: 256}.")}
  model: {_mapping(model)}
  # {_about(data, Data, "Your function; other keys are passed to it, as in {name: ..., count: 5000}.")}
  data: {_mapping(data)}
  # Your function, or cross_entropy (classes and tokens), mse (numbers), binary_cross_entropy (several labels).
  loss: {_quoted(loss)}
  optimizer: {{name: sgd, lr: 0.05}}      # or adam, adamw, adagrad, rmsprop, "torch.optim:NAdam", ...
  batch_size: 64                        # or full
  epochs: 10                            # or steps: 2000 and record_every: 50 steps
  measurement:
    fraction: 0.25                      # part of the training samples that the Hessian is computed on
    estimators: [lanczos, exact_trace]  # lambda_max, lambda_min and trace; or top_eigenvalues, stability, ...
grid:                                   # the values that are varied, as lists
  optimizer.lr: [0.05, 0.01]
  seed: [0, 1]
resources: {{cpu: 1, gpu: auto}}          # per trial; auto: a share of a GPU if there is one
"""


def _about(name: str, union: Any, own: str) -> str:
    """A comment on the value of a field that holds a union of configs."""
    if ":" in name:
        return own
    tags = [member.__metadata__[0].tag for member in get_args(get_args(union)[0])]
    return f"{', '.join(tag for tag in tags if tag != OWN_CODE)}, or {OWN_CODE}"


def _mapping(name: str) -> str:
    needed = f", {_NEEDED[name]}" if name in _NEEDED else ""
    return f"{{name: {_quoted(name)}{needed}}}"


def _quoted(name: str) -> str:
    return f'"{name}"' if ":" in name else name
