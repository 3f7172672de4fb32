"""Tables and texts are read once per version of the file, and mapped by every process."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orchestrator.study.parts.data_config import Data, TableData, TextData
from orchestrator.training.data.cache.decoded_copy import cache_folder
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.in_memory import table, text
from orchestrator.training.data.samples import DataError, Samples

pytestmark = pytest.mark.usefixtures("own_cache")


def text_file(folder: Path) -> TextData:
    (folder / "text").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return TextData(name="text", path=str(folder / "text"), context=8)


def table_file(folder: Path, target: str = "price", task: str | None = None) -> TableData:
    rows = [f"{row},{row % 7},{'ab'[row % 2]},{row * 0.5}" for row in range(40)]
    (folder / "table.csv").write_text(
        "\n".join(["size,rooms,kind,price", *rows]).replace(",a,", ",0,").replace(",b,", ",1,")
    )
    content = {"name": "table", "path": str(folder / "table.csv"), "target": target, "task": task}
    return TableData.model_validate({key: value for key, value in content.items() if value})


def tensors(data: DataSplits) -> list[Tensor]:
    found: list[Tensor] = []
    for field in fields(data):
        value = getattr(data, field.name)
        found += [value.inputs, value.targets] if isinstance(value, Samples) else []
        found += [value] if isinstance(value, Tensor) else []
    return found


def load(config: Data) -> DataSplits:
    return text.load_text(config) if isinstance(config, TextData) else table.load_table(config)  # type: ignore[arg-type]


def copies() -> list[Path]:
    return sorted(cache_folder().glob("decoded-file-*"))


@pytest.fixture(params=["text", "values", "classes"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Data:
    if request.param == "text":
        return text_file(tmp_path)
    return table_file(tmp_path, "price") if request.param == "values" else table_file(tmp_path, "kind", "classes")


def test_a_mapped_copy_equals_what_was_read(config: Data) -> None:
    read = text._read_text(config) if isinstance(config, TextData) else table._read_table(config)  # type: ignore[arg-type]
    for mapped in (load(config), load(config)):
        assert all(
            torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(tensors(mapped), tensors(read), strict=True)
        )
        assert (mapped.classes, mapped.digest, mapped.task) == (read.classes, read.digest, read.task)
        assert (mapped.vocabulary, mapped.outputs) == (read.vocabulary, read.outputs)
        assert (mapped.signature, mapped.description) == (read.signature, read.description)
    assert len(copies()) == 1


def test_the_file_is_read_only_once(config: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    load(config)
    for module, name in ((text, "_read_text"), (table, "_read_table")):
        monkeypatch.setattr(module, name, lambda config: pytest.fail("read again"))
    load(config)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    config = text_file(tmp_path)
    before = load(config)
    Path(config.path).write_text("a stitch in time saves nine; " * 30)
    assert load(config).digest != before.digest
    assert len(copies()) == 2


def test_settings_have_copies_of_their_own(tmp_path: Path) -> None:
    config = text_file(tmp_path)
    assert load(config).shape == (8,)
    assert load(config.model_copy(update={"context": 4})).shape == (4,)
    assert load(table_file(tmp_path, "price")).outputs == 1
    assert load(table_file(tmp_path, "kind", "classes")).classes == ("0", "1")
    assert len(copies()) == 4


def test_invalid_data_leaves_no_copy(tmp_path: Path) -> None:
    config = text_file(tmp_path)
    with pytest.raises(DataError, match="expected at least 12"):
        load(config.model_copy(update={"context": 500}))
    assert list(cache_folder().glob("*decod*/meta.json")) == []


def test_a_damaged_copy_is_refused(tmp_path: Path) -> None:
    config = text_file(tmp_path)
    load(config)
    (copy,) = copies()
    file = copy / "train.inputs"
    file.chmod(0o644)
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(DataError, match="is damaged .*remove that folder and run again"):
        load(config)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux reports private memory")
def test_a_process_has_almost_no_private_memory(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(bytes(range(256)) * 8000)
    config = TextData(name="text", path=str(tmp_path / "text"), tokens="bytes", context=64)
    data = load(config)
    program = f"""
import json
from orchestrator.study.parts.data_config import TextData
from orchestrator.training.data.in_memory.text import load_text

def memory(kind):
    return next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith(kind + ":")) * 1024

kinds = ("Rss", "Anonymous")
before = [memory(kind) for kind in kinds]
data = load_text(TextData(name="text", path={config.path!r}, tokens="bytes", context=64))
for part in (data.train, data.validation, data.test, data.shifted):
    part.inputs.max(), part.targets.max()
print(json.dumps([memory(kind) - old for kind, old in zip(kinds, before)]))
"""
    seen, private = json.loads(subprocess.check_output([sys.executable, "-c", program], env=dict(os.environ)))
    size = sum(tensor.nbytes for tensor in tensors(data))
    assert size > 25e6
    assert seen > 0.9 * size
    assert private < 0.2 * size
