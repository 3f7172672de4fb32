"""The command line."""

from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main


def test_unknown_benchmark_or_folder_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trainning"])
    assert (
        "unknown benchmark trainning; the benchmarks are training, evaluation, measurement" in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        main(["--data", "/nowhere"])
    assert "--data '/nowhere' is not a folder; expected train/<class>/*" in capsys.readouterr().err


def test_invalid_image_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match="^error: data folder '.*train' does not exist; put one folder of images per class there"
    ):
        main(["training", "--quick", "--data", str(tmp_path)])


def test_skipped_benchmark_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    main(["gpu", "--quick"])
    assert "gpu: skipped, torch finds no GPU on this machine" in capsys.readouterr().out
