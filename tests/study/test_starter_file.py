"""The text of a new sweep file."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestrator.study.schema import sweep_file_schema
from orchestrator.study.starter_file import starter_file
from orchestrator.study.sweep import load_sweep

DATA = ["digits", "image_folder", "cifar10", "table", "text", "sorting", "my_package.data:load"]
MODELS = [None, "cnn", "resnet", "vit", "torchvision", "my_package.models:MyNet"]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", MODELS)
def test_it_is_valid_for_every_kind_of_data_and_network(tmp_path: Path, data: str, model: str | None) -> None:
    text = starter_file(Path("mine.yaml"), "schema.json", data, model)
    (tmp_path / "mine.yaml").write_text(text)
    sweep = load_sweep(str(tmp_path / "mine.yaml"))
    assert (sweep.name, len(sweep.trials)) == ("mine", 4)
    assert sweep.trials[0].data.name == data
    assert model in (None, sweep.trials[0].model.name)
    jsonschema.validate(yaml.safe_load(text), sweep_file_schema())
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert all(len(line) <= 120 for line in text.splitlines())


def test_network_and_loss_fit_built_in_data() -> None:
    sorting, table = (yaml.safe_load(starter_file(Path("a.yaml"), "s", data))["trial"] for data in ("sorting", "table"))
    assert sorting["model"]["name"] == "transformer"
    assert table["loss"] == "mse"


def test_comments_list_the_built_in_names_or_say_what_is_passed_to_own_code() -> None:
    built_in = starter_file(Path("a.yaml"), "s", "digits")
    assert "# cnn, mlp, resnet, " in built_in
    assert "# digits, image_folder, cifar10, " in built_in
    own = starter_file(Path("a.yaml"), "s", "my_data:load", "my_nets:Net")
    assert "other keys are passed to its constructor" in own
    assert ", or package.module:name" not in own
