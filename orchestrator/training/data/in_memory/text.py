"""Text files: sequences of characters or bytes, whose next token is to be predicted."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from orchestrator.study.parts.data_config import TextData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.in_memory.split_in_memory import check_file_fits_memory, split_in_memory
from orchestrator.training.data.in_memory.stored_splits import read_once
from orchestrator.training.data.samples import DataError, Samples
from orchestrator.training.data.split import SPLIT_SEED
from orchestrator.training.data.task import Task
from orchestrator.training.streams import stream

_TEST_FRACTION = 0.1
_SHIFTED_POSITIONS = 0.05
_COPIES = 20
"""Memory while reading, in multiples of the file: a token takes 8 bytes, in the text, the inputs and the targets."""


def load_text(config: TextData) -> DataSplits:
    """Returns a text as sequences of `context` tokens that do not overlap. The last tenth of the text is for testing.

    The file is read once and then mapped.

    Raises:
        DataError: if the file cannot be read, is not UTF-8, or is too short for its context.
    """
    settings = {"text": [config.tokens, config.context]}
    try:
        return read_once(Path(config.path), settings, lambda: _read_text(config))
    except OSError as error:
        raise _unreadable(config, error) from None


def _unreadable(config: TextData, error: OSError) -> DataError:
    return DataError(f"the text {config.path!r} cannot be read ({error.strerror}); check the path")


def _read_text(config: TextData) -> DataSplits:
    try:
        check_file_fits_memory(Path(config.path), _COPIES)
        content = Path(config.path).read_bytes()
    except OSError as error:
        raise _unreadable(config, error) from None
    tokens, vocabulary = _tokens(content, config)
    sequences = (len(tokens) - 1) // config.context
    tested = max(1, round(_TEST_FRACTION * sequences))
    if sequences - tested < 10:
        raise DataError(
            f"the text {config.path!r} has {len(tokens)} {config.tokens}, which are {max(sequences, 0)} sequences of "
            f"data.context = {config.context}, expected at least 12: use a longer text or a shorter context"
        )
    used = sequences * config.context
    whole = Samples(tokens[:used].view(sequences, -1), tokens[1 : used + 1].view(sequences, -1))
    train, test = whole[: sequences - tested], whole[sequences - tested :]
    digest = hashlib.sha256(content).hexdigest()
    shifted = Samples(_with_random_tokens(test.inputs, vocabulary), test.targets)
    return split_in_memory(train, test, Task.TOKENS, digest, vocabulary=vocabulary, outputs=vocabulary, shifted=shifted)


def _tokens(content: bytes, config: TextData) -> tuple[Tensor, int]:
    """Returns int64 tokens [n] and the size of the vocabulary."""
    if config.tokens == "bytes":
        return torch.frombuffer(bytearray(content), dtype=torch.uint8).long() if content else torch.empty(0).long(), 256
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"the text {config.path!r} is not UTF-8 (byte {error.start}); convert it, or use data.tokens: bytes"
        ) from None
    if len(set(text)) == 1:
        raise DataError(
            f"the text {config.path!r} has only the character {text[0]!r}, expected at least two different ones; use "
            "another text"
        )
    number = {character: index for index, character in enumerate(sorted(set(text)))}
    return torch.tensor([number[character] for character in text], dtype=torch.int64), max(2, len(number))


def _with_random_tokens(inputs: Tensor, vocabulary: int) -> Tensor:
    generator = stream(SPLIT_SEED, "text shift")
    replaced = torch.rand(inputs.shape, generator=generator) < _SHIFTED_POSITIONS
    return torch.where(replaced, torch.randint(vocabulary, inputs.shape, generator=generator), inputs)
