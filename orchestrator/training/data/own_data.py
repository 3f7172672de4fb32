"""Data from the user's own function."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from orchestrator.study.data_config import OwnData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.in_memory import digest_of, split_in_memory
from orchestrator.training.data.samples import DataError, Samples
from orchestrator.training.data.task import Task
from orchestrator.training.user_code.extension_point import ExtensionPoint, check_arguments

DATA = ExtensionPoint("data", None, "a function that returns tensors")
_KEYS = ("train", "test", "classes", "vocabulary", "labels")
_EXPECTED = "(train inputs, train targets, test inputs, test targets) or a mapping with train and test pairs"


def load_own_data(config: OwnData) -> DataSplits:
    """Calls the user's function and returns its data, with a random tenth of the training samples for validation.

    Inputs are uint8 images [n, channels, height, width], numbers [n, ...], or int64 tokens [n, positions]. Targets are
    int64 classes [n], int64 tokens [n, positions], or numbers [n] or [n, values].

    Raises:
        ValueError: if the function returns something else, or different data when it is called again.
        UserCodeError: if the function raises.
    """
    function = DATA.find(config.name)
    check_arguments(f"data {config.name!r}", function, (), config.arguments)
    state = torch.get_rng_state()
    found = _Returned.of(config, function)
    # A function that draws from the global generator must seed it, since the sweep does not.
    if not torch.equal(state, torch.get_rng_state()) and _Returned.of(config, function).digest != found.digest:
        raise ValueError(
            f"data {config.name!r} returned different data when it was called again: seed its random numbers, for "
            "example with torch.Generator().manual_seed(0), or reruns would differ"
        )
    return found.splits()


class _Returned:
    """The checked tensors of a function."""

    def __init__(self, name: str, content: Mapping[str, Any]) -> None:
        self._name, self._content = name, content
        self.train, self.test = (self._pair(part) for part in ("train", "test"))
        if self.train.inputs.shape[1:] != self.test.inputs.shape[1:]:
            shapes = " and ".join(str(tuple(part.inputs.shape[1:])) for part in (self.train, self.test))
            raise self._problem(f"inputs of shapes {shapes}", "equal ones")
        self.digest = digest_of(*vars(self.train).values(), *vars(self.test).values())

    @classmethod
    def of(cls, config: OwnData, function: Any) -> "_Returned":
        """Calls the function and checks what it returns."""
        with DATA.errors(config.name, "called"):
            returned = function(**config.arguments)
        if isinstance(returned, tuple | list) and len(returned) == 4:
            returned = {"train": returned[:2], "test": returned[2:]}
        if not isinstance(returned, Mapping) or not {"train", "test"} <= set(returned) <= set(_KEYS):
            given = list(returned) if isinstance(returned, Mapping) else type(returned).__name__
            raise ValueError(
                f"data {config.name!r} returned {given}, expected {_EXPECTED}; keys are {', '.join(_KEYS)}"
            )
        return cls(config.name, returned)

    def splits(self) -> DataSplits:
        """Returns the data, split."""
        tokens = self.train.inputs.dtype == torch.int64
        vocabulary = self._content.get("vocabulary")
        if tokens and not isinstance(vocabulary, int):
            raise self._problem("int64 inputs", "a mapping with their number of tokens as 'vocabulary'")
        targets, task = self.train.targets, self._task
        outputs = None
        classes: tuple[str, ...] = ()
        if task is Task.TOKENS:
            outputs = vocabulary
        elif task is Task.CLASSES:
            classes = self._class_names()
        else:
            outputs = targets.shape[1]
        shifted = self.test if tokens else None  # tokens have no noise; a shift of one's own replaces this
        return split_in_memory(
            self.train,
            self.test,
            task,
            self.digest,
            classes=classes,
            vocabulary=vocabulary if tokens else None,
            outputs=outputs,
            shifted=shifted,
        )

    @property
    def _task(self) -> Task:
        targets = self.train.targets
        if not targets.is_floating_point():
            return Task.CLASSES if targets.ndim == 1 else Task.TOKENS
        return Task.LABELS if self._content.get("labels") else Task.VALUES

    def _class_names(self) -> tuple[str, ...]:
        largest = int(torch.cat([self.train.targets, self.test.targets]).max())
        names = self._content.get("classes", largest + 1)
        names = tuple(map(str, range(names) if isinstance(names, int) else names))
        if largest >= len(names) or int(torch.cat([self.train.targets, self.test.targets]).min()) < 0:
            raise self._problem(f"a class {largest} of {len(names)} classes", f"classes in 0..{len(names) - 1}")
        return names

    def _pair(self, part: str) -> Samples:
        pair = self._content[part]
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(one, Tensor) for one in pair)):
            raise self._problem(f"{type(pair).__name__} as {part}", "a pair of tensors, inputs and targets")
        inputs, targets = (tensor.detach().cpu() for tensor in pair)
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise self._problem(
                f"{len(inputs)} inputs and {len(targets)} targets as {part}", "equally many, at least one"
            )
        if targets.is_floating_point() and targets.ndim == 1:
            targets = targets[:, None]
        for kind, tensor in (("inputs", inputs), ("targets", targets)):
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise self._problem(f"{part} {kind} that are not finite", "finite numbers")
        return Samples(_as_stored(inputs), _as_stored(targets))

    def _problem(self, found: str, expected: str) -> ValueError:
        return DataError(f"data {self._name!r} returned {found}, expected {expected}")


def _as_stored(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        return tensor.float()
    return tensor if tensor.dtype == torch.uint8 and tensor.ndim == 4 else tensor.long()
