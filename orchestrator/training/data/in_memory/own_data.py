"""Data from the user's own function."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from orchestrator.study.parts.data_config import OwnData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.in_memory.split_in_memory import digest_of, split_in_memory
from orchestrator.training.data.samples import DataError, Samples
from orchestrator.training.data.task import Task
from orchestrator.training.scores import NO_TARGET
from orchestrator.training.user_code.extension_point import ExtensionPoint, check_arguments
from orchestrator.training.user_code.global_generators import global_generators

DATA = ExtensionPoint("data", None, "a function that returns tensors")
_KEYS = ("train", "test", "classes", "vocabulary", "labels")
_EXPECTED = "(train inputs, train targets, test inputs, test targets) or a mapping with train and test pairs"


def load_own_data(config: OwnData) -> DataSplits:
    """Calls the user's function and returns its data, with a random tenth of the training samples for validation.

    Inputs are uint8 images [n, channels, height, width], numbers [n, ...], or int64 tokens [n, positions]. Targets are
    int64 classes [n], numbers [n] or [n, values], or int64 tokens [n, positions] (-100: no target). Inputs that are
    tokens have classes or tokens as targets.

    Raises:
        ValueError: if the function returns something else, or different data when it is called again.
        UserCodeError: if the function raises.
    """
    function = DATA.find(config.name)
    check_arguments(f"data {config.name!r}", function, (), config.arguments)
    state = _generators()
    found = _Returned.of(config, function)
    # A function that draws from a global generator must seed it, since the sweep does not.
    if _generators() != state and _Returned.of(config, function).digest != found.digest:
        raise ValueError(
            f"data {config.name!r} returned different data when it was called again: seed its random numbers, for "
            "example with torch.Generator().manual_seed(0), or reruns would differ"
        )
    return found.splits()


def _generators() -> tuple[object, ...]:
    """Returns the states of the global generators of torch, NumPy and Python."""
    return torch.get_rng_state().numpy().tobytes(), *global_generators()


class _Returned:
    """The checked tensors of a function."""

    def __init__(self, name: str, content: Mapping[str, Any]) -> None:
        self._name, self._content = name, content
        self.train, self.test = (self._pair(part) for part in ("train", "test"))
        for kind in ("inputs", "targets"):
            train, test = getattr(self.train, kind), getattr(self.test, kind)
            if (train.dtype, train.shape[1:]) != (test.dtype, test.shape[1:]):
                found = " and ".join(f"{tensor.dtype} {tuple(tensor.shape[1:])}" for tensor in (train, test))
                raise self._problem(f"{found} as {kind} of one sample in train and test", "the same dtype and shape")
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
        vocabulary = self._vocabulary()
        task = self._task
        self._check_task(task, vocabulary)
        outputs = None
        classes: tuple[str, ...] = ()
        if task is Task.TOKENS:
            outputs = vocabulary
        elif task is Task.CLASSES:
            classes = self._class_names()
        else:
            outputs = self.train.targets.shape[1]
        shifted = None if vocabulary is None else self.test  # tokens have no noise; a shift of one's own replaces this
        return split_in_memory(
            self.train,
            self.test,
            task,
            self.digest,
            classes=classes,
            vocabulary=vocabulary,
            outputs=outputs,
            shifted=shifted,
        )

    @property
    def _task(self) -> Task:
        targets = self.train.targets
        if not targets.is_floating_point():
            return Task.CLASSES if targets.ndim == 1 else Task.TOKENS
        return Task.LABELS if self._content.get("labels") else Task.VALUES

    def _vocabulary(self) -> int | None:
        """Returns the number of different input tokens, after checking them; None if inputs are not tokens."""
        vocabulary = self._content.get("vocabulary")
        if self.train.inputs.dtype != torch.int64:
            if vocabulary is not None:
                found = f"{self.train.inputs.dtype} inputs with 'vocabulary'"
                raise self._problem(found, "int64 tokens, for example inputs.long(), or no 'vocabulary'")
            return None
        if not isinstance(vocabulary, int) or isinstance(vocabulary, bool) or vocabulary < 2:
            raise self._problem(
                "int64 inputs", "a mapping with their number of tokens as 'vocabulary', at least 2, or float inputs"
            )
        self._check_range("inputs", vocabulary)
        return vocabulary

    def _check_task(self, task: Task, vocabulary: int | None) -> None:
        """Checks that the targets fit the inputs and are in range. `_class_names` checks classes."""
        inputs, targets = self.train.inputs, self.train.targets
        fits = task is not Task.TOKENS if vocabulary is None else task in (Task.CLASSES, Task.TOKENS)
        if not fits or (task is Task.TOKENS and targets.shape != inputs.shape):
            found = f"{inputs.dtype} inputs and {targets.dtype} targets of shapes {tuple(inputs.shape)} and "
            raise self._problem(
                found + str(tuple(targets.shape)),
                "int64 classes [n], or int64 targets like the inputs for tokens, or float targets for other inputs",
            )
        if task is not Task.CLASSES and "classes" in self._content:
            raise self._problem(
                f"{targets.dtype} targets of shape {tuple(targets.shape)} with 'classes'",
                ("int64 classes [n], for example targets.long(), or no 'classes'"),
            )
        if task is Task.TOKENS:
            self._check_range("targets", vocabulary or 0, NO_TARGET)
        elif task is Task.LABELS and not all(bool(((one == 0) | (one == 1)).all()) for one in self._both("targets")):
            raise self._problem("other labels than 0 and 1", "labels of 0 or 1, or real targets without 'labels'")
        elif task is Task.VALUES and bool((constant := (targets == targets[0]).all(0)).any()):
            number = int(constant.nonzero()[0])
            raise self._problem(f"training targets whose value {number} is constant", "targets that vary")

    def _check_range(self, kind: str, vocabulary: int, allowed: int | None = None) -> None:
        for tensor in self._both(kind):
            known = tensor if allowed is None else tensor[tensor != allowed]
            if len(known) == 0:
                raise self._problem(f"only {allowed} as targets", "a token at some positions")
            if not 0 <= int(known.min()) <= int(known.max()) < vocabulary:
                raise self._problem(
                    f"tokens {int(known.min())}..{int(known.max())} as {kind}", f"tokens in 0..{vocabulary - 1}"
                )

    def _class_names(self) -> tuple[str, ...]:
        classes = torch.cat(self._both("targets"))
        smallest, largest = int(classes.min()), int(classes.max())
        given = self._content.get("classes", max(largest + 1, 0))
        named = isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)
        if not named and (not isinstance(given, int) or isinstance(given, bool)):
            raise self._problem(f"classes {given!r}", "their number or a list of their names")
        names = tuple(map(str, range(given) if isinstance(given, int) else given))
        if smallest < 0 or largest >= len(names):
            wrong = smallest if smallest < 0 else largest
            raise self._problem(f"a class {wrong} of {len(names)} classes", f"classes in 0..{len(names) - 1}")
        if len(set(names)) < max(2, len(names)):
            raise self._problem(f"the classes {', '.join(names)}", "at least two different names")
        return names

    def _both(self, kind: str) -> list[Tensor]:
        return [getattr(self.train, kind), getattr(self.test, kind)]

    def _pair(self, part: str) -> Samples:
        pair = self._content[part]
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(map(_has_samples, pair))):
            found = [type(one).__name__ for one in pair] if isinstance(pair, tuple | list) else type(pair).__name__
            raise self._problem(f"{found} as {part}", "a pair of dense tensors, inputs and targets of [n, ...]")
        inputs, targets = (tensor.detach().cpu() for tensor in pair)
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise self._problem(
                f"{len(inputs)} inputs and {len(targets)} targets as {part}", "equally many, at least one"
            )
        if inputs.numel() == 0 or targets.numel() == 0:
            raise self._problem(f"{part} samples without numbers", "at least one input and target each")
        if self._content.get("labels"):
            targets = targets.float()
        inputs, targets = _as_stored(inputs), _as_stored(targets)
        if targets.is_floating_point() and targets.ndim == 1:
            targets = targets[:, None]
        for kind, tensor in (("inputs", inputs), ("targets", targets)):
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise self._problem(f"{part} {kind} that are not finite in float32", "finite numbers")
        return Samples(inputs[:, None] if inputs.ndim == 1 else inputs, targets)

    def _problem(self, found: str, expected: str) -> ValueError:
        return DataError(f"data {self._name!r} returned {found}, expected {expected}")


def _has_samples(tensor: object) -> bool:
    dense = isinstance(tensor, Tensor) and tensor.layout == torch.strided and not tensor.is_meta
    return dense and isinstance(tensor, Tensor) and tensor.ndim > 0 and not tensor.is_complex()


def _as_stored(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        return tensor.float()
    return tensor if tensor.dtype == torch.uint8 and tensor.ndim == 4 else tensor.long()
