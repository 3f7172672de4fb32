"""Texts as sequences of tokens."""

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.study.parts.data_config import TextData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.in_memory import split_in_memory
from orchestrator.training.data.in_memory.text import load_text
from orchestrator.training.data.samples import DataError
from orchestrator.training.data.task import Task

TEXT = "the quick brown föx jumps over the lazy dog. " * 20


def load(folder: Path, content: bytes = TEXT.encode(), **options: Any) -> DataSplits:
    path = folder / "text.txt"
    path.write_bytes(content)
    return load_text(TextData.model_validate({"name": "text", "path": str(path), "context": 16, **options}))


def test_sequences_are_the_text_and_targets_the_next_characters(tmp_path: Path) -> None:
    data = load(tmp_path)
    characters = sorted(set(TEXT))
    assert data.task is Task.TOKENS
    assert data.signature.output_shape == (16, len(characters))

    def decoded(tokens: torch.Tensor) -> str:
        return "".join(characters[token] for token in tokens.tolist())

    chunks = {TEXT[start : start + 16] for start in range(0, len(TEXT) - 16, 16)}
    for part in (data.train, data.validation, data.test):
        for inputs, targets in zip(part.inputs, part.targets, strict=True):
            assert decoded(inputs) in chunks
            assert TEXT.index(decoded(inputs) + decoded(targets[-1:])) >= 0
            assert torch.equal(inputs[1:], targets[:-1])
    assert decoded(data.test.inputs[-1]) == TEXT[(len(TEXT) - 1) // 16 * 16 - 16 :][:16]


def test_bytes_need_no_encoding(tmp_path: Path) -> None:
    data = load(tmp_path, bytes(range(256)) * 4, tokens="bytes")
    assert data.signature.vocabulary == 256
    assert int(data.train.inputs.max()) > 200


def test_the_shift_replaces_some_characters(tmp_path: Path) -> None:
    data = load(tmp_path, TEXT.encode() * 20)
    inputs, targets = data.shifted_test(slice(None))
    assert 0.02 < float((inputs != data.test.inputs).double().mean()) < 0.06
    assert torch.equal(targets, data.test.targets)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"short", "has 5 characters, which are 0 sequences of data.context = 16, expected at least 12"),
        (b"", "has 0 characters"),
        (b"\xff" * 1000, r"is not UTF-8 \(byte 0\); convert it, or use data.tokens: bytes"),
        (b"a" * 900, "has only the character 'a', expected at least two different ones"),
    ],
)
def test_unusable_texts_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent.txt' cannot be read"):
        load_text(TextData(name="text", path=str(tmp_path / "absent.txt")))


def test_a_text_that_does_not_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_in_memory, "memory_bytes", lambda: (2000, 1000))
    with pytest.raises(DataError, match=r"reading .*\(0 MB\) takes about 0 MB of memory, but 0 MB are available here"):
        load(tmp_path)
