"""Loading a sweep file returns its trials, or reports all of its issues."""

import re
import time
from pathlib import Path

import pytest

from orchestrator.study.sweep import Resources, Sweep, load_sweep
from tests.study.configs import config
from tests.study.sweep_files import (
    BASE,
    Write,
    optimizer,
    problems,
)

REPOSITORY = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for path in (REPOSITORY / "sweeps").glob("*.yaml"))


def shipped(name: str) -> Sweep:
    """A shipped sweep. Its trials do not depend on the path that `text` requires."""
    return load_sweep(str(REPOSITORY / f"sweeps/{name}.yaml"), ["data.path=my.txt"] if name == "text" else [])


# --- trials of a sweep file ---


def test_the_header_of_quickstart_matches_its_content() -> None:
    sweep = load_sweep(str(REPOSITORY / "sweeps/quickstart.yaml"))
    header = (REPOSITORY / "sweeps/quickstart.yaml").read_text().split("name:")[0]
    assert re.search(r"\b12 trials\b", header)
    assert len(sweep.trials) == len(sweep.by_id) == 12
    assert sweep.varied == ("optimizer.lr", "batch_size", "seed")
    assert {optimizer(trial).lr for trial in sweep.trials} == {0.05, 0.01}
    assert "two learning rates, two batch sizes and three seeds" in header
    assert sweep.resources == Resources(cpu=1, gpu="auto")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_sweep_states_its_number_of_trials(name: str) -> None:
    sweep = shipped(name)
    header = (REPOSITORY / f"sweeps/{name}.yaml").read_text().split("name:")[0]
    counts = re.findall(r"\b(\d+) trials\b", header)
    assert sweep.name.split("-")[0] == name
    assert str(len(sweep.trials)) in counts
    assert sweep.resources.gpu == "auto"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_list_of_sweeps_states_their_size(name: str) -> None:
    sweep = shipped(name)
    (row,) = re.findall(rf"^\| \[{name}.yaml\].*$", (REPOSITORY / "sweeps/README.md").read_text(), re.MULTILINE)
    lengths = sorted({trial.cadence.length for trial in sweep.trials})
    size = " (?:or|to) ".join(f"{length:,}" for length in dict.fromkeys([lengths[0], lengths[-1]]))
    assert re.search(rf"\| {len(sweep.trials)} x {size}{' steps' if sweep.trials[0].steps else ''}\b", row)


def test_the_sweep_of_a_text_requires_a_path() -> None:
    with pytest.raises(
        ValueError,
        match=r"trial\.data\.path: is required .* with --set data\.path=VALUE",
    ):
        load_sweep("text")


def test_a_sweep_in_the_current_directory_hides_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(load_sweep("quickstart").trials) == 12
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps/quickstart.yaml").write_text(BASE)
    assert load_sweep("quickstart").name == "x"


def test_sweep_without_a_name_gets_the_name_of_its_file(write: Write) -> None:
    assert load_sweep(write(BASE.removeprefix("name: x\n"), "night.yaml")).name == "night"


# --- finding the file ---


def test_an_unknown_sweep_lists_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps/at_home.yaml").write_text(BASE)
    with pytest.raises(ValueError, match="no sweep is named 'quikstart'") as caught:
        load_sweep("quikstart")
    message, _, names = str(caught.value).partition("one of: ")
    assert message == "no sweep is named 'quikstart'; give a path to a .yaml file or "
    assert names.split(", ") == sorted({*SHIPPED, "text", "at_home"})


@pytest.mark.parametrize("source", ["nowhere.yaml", "nowhere.yml", "./nowhere", "sweeps/nowhere.yaml", "sweeps/"])
def test_a_missing_file_is_reported(source: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"sweep file {source!r} does not exist")):
        load_sweep(source)


def test_a_folder_is_not_a_sweep_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(ValueError, match=r"x\.yaml' does not exist"):
        load_sweep(str(tmp_path / "x.yaml"))


def test_two_files_with_one_name_are_refused(write: Write) -> None:
    source, other = write(BASE), write(BASE, "y.yml")
    assert problems(source) == [f"name = 'x': is also the name in {other}; give every sweep its own name"]
    assert problems(other) == [f"name = 'x': is also the name in {source}; give every sweep its own name"]


def test_a_shared_name_is_reported_with_other_issues(write: Write) -> None:
    write(BASE, "y.yaml")
    assert len(problems(write(BASE + "  sed: 1"))) == 2


def test_name_equal_to_the_file_name_of_another_sweep_is_refused(write: Write) -> None:
    other = write(BASE.removeprefix("name: x\n"), "night.yaml")
    assert problems(write(BASE.replace("name: x", "name: night"))) == [
        f"name = 'night': is also the name in {other}; give every sweep its own name"
    ]


def test_issues_of_other_files_are_not_reported(write: Write) -> None:
    write("a: [1", "broken.yaml")
    write("- 1", "list.yaml")
    write("  seed: !!bool maybe", "tag.yaml")
    Path(write(BASE)).with_name(".#x.yaml").symlink_to("me@here:1")  # the lock file of an editor
    assert load_sweep(write(BASE)).name == "x"


# --- finding and labelling trials ---


@pytest.fixture
def sweep(write: Write) -> Sweep:
    return load_sweep(write(BASE + f"grid: {{seed: {list(range(40))}}}\n"))


def test_a_trial_is_found_by_the_beginning_of_its_id(sweep: Sweep) -> None:
    for trial in sweep.trials:
        assert sweep.find(trial.trial_id) is trial
        unique = next(n for n in range(1, 13) if sum(i.startswith(trial.trial_id[:n]) for i in sweep.by_id) == 1)
        assert sweep.find(trial.trial_id[:unique]) is trial


def test_an_ambiguous_prefix_lists_its_trials(sweep: Sweep) -> None:
    first = next(digit for digit in "0123456789abcdef" if sum(i.startswith(digit) for i in sweep.by_id) > 1)
    matches = [trial for trial in sweep.trials if trial.trial_id.startswith(first)]
    with pytest.raises(ValueError, match="expected one of") as caught:
        sweep.find(first)
    header, *lines = str(caught.value).split("\n  ")
    assert header == f"id {first!r} matches {len(matches)} trials of sweep 'x'; expected one of:"
    assert lines == [f"{trial.trial_id}  seed={trial.seed}" for trial in matches]


@pytest.mark.parametrize(("prefix", "found"), [("xyz", "matches no trial"), ("", "matches 40 trials")])
def test_all_trials_are_listed_if_none_matches(sweep: Sweep, prefix: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"^id '{prefix}' {found} of sweep 'x'") as caught:
        sweep.find(prefix)
    assert all(trial_id in str(caught.value) for trial_id in sweep.by_id)


def test_a_label_shows_how_a_trial_differs(write: Write) -> None:
    sweep = load_sweep(write(BASE + "grid: {optimizer: [{name: sgd, lr: 1}, {name: adam, lr: 1}]}\n"))
    assert [sweep.label(trial) for trial in sweep.trials] == [
        "sgd",
        "adam",
    ]
    assert load_sweep(write(BASE)).label(config()) == ""


def test_a_label_shows_what_differs_from_the_defaults_of_an_optimizer(write: Write) -> None:
    grid = "[{optimizer: [{name: sgd, lr: 1}, {name: sgd, lr: 2, momentum: 0.9}], seed: [0, 1]}]"
    sweep = load_sweep(write(BASE + f"grid: {grid}\n"))
    assert [sweep.label(trial) for trial in sweep.trials] == [
        "lr=1.0 seed=0",
        "lr=1.0 seed=1",
        "lr=2.0 momentum=0.9 seed=0",
        "lr=2.0 momentum=0.9 seed=1",
    ]


def test_keys_with_the_same_last_part_are_written_in_full(write: Write) -> None:
    sweep = load_sweep(write(BASE + "grid: {model: [{name: 'mine:Net'}], model.lr: [3, 4], optimizer.lr: [1, 2]}\n"))
    assert sweep.label(sweep.trials[-1]) == "model.lr=4 optimizer.lr=2.0"


@pytest.mark.parametrize("name", SHIPPED)
def test_labels_of_a_sweep_are_unique(name: str) -> None:
    sweep = shipped(name)
    assert len({sweep.label(trial) for trial in sweep.trials}) == len(sweep.trials)


def test_the_paper_sweep_has_its_size_and_contains_figure_1() -> None:
    paper = load_sweep("paper")
    assert len(paper.trials) >= 150
    assert sum(trial.epochs for trial in paper.trials) > 10_000
    for figure in ("learning_rate", "batch_size"):
        assert load_sweep(figure).by_id.keys() <= paper.by_id.keys()
    assert {trial.optimizer.name for trial in paper.trials} == {"sgd", "adam", "adagrad", "rmsprop"}
    assert any(trial.flat().get("optimizer.momentum") == 0.9 for trial in paper.trials)
    assert {trial.model.name for trial in paper.trials} == {"cnn", "mlp"}
    assert {trial.batch_size for trial in paper.trials} == {32, 64, 128, 256}
    assert {trial.flat()["optimizer.weight_decay"] for trial in paper.trials} == {0.0, 1e-4, 5e-4}
    assert all(trial.measurement.algorithm1_every == 10 for trial in paper.trials)


def test_the_sweeps_of_figure_1_have_the_groups_of_the_paper() -> None:
    rates = [(trial.optimizer.lr, trial.seed) for trial in load_sweep("learning_rate").trials]
    assert sorted(rates) == [(lr, seed) for lr in (0.01, 0.05) for seed in range(4)]
    sizes = [(trial.batch_size, trial.seed) for trial in load_sweep("batch_size").trials]
    assert sorted(sizes) == [(size, seed) for size in (32, 64) for seed in range(2)]


def test_the_laptop_sweep_has_its_settings() -> None:
    sweep = load_sweep("laptop")
    assert (len(sweep.trials), {trial.epochs for trial in sweep.trials}) == (16, {30})
    assert {trial.data.train_subset for trial in sweep.trials} == {10_000}
    settings = {(trial.optimizer.name, trial.optimizer.lr, trial.batch_size, trial.seed) for trial in sweep.trials}
    rates = [("sgd", 0.05), ("sgd", 0.01), ("adam", 0.001), ("adam", 0.0003)]
    assert settings == {(*rate, batch, seed) for rate in rates for batch in (32, 64) for seed in (0, 1)}
    assert all(trial.measurement.algorithm1_every == 5 for trial in sweep.trials)


def test_a_label_shows_a_field_that_only_some_trials_have(write: Write) -> None:
    sweep = load_sweep(write(BASE + "grid: {model: [{name: 'mine:Net'}, {name: 'mine:Net', width: 8}]}\n"))
    assert [sweep.label(trial) for trial in sweep.trials] == ["", "width=8"]


def test_labels_of_a_large_sweep_are_fast(write: Write) -> None:
    sweep = load_sweep(write(BASE + f"grid: {{seed: {list(range(500))}}}\n"))
    began = time.process_time()
    assert len({sweep.label(trial) for trial in sweep.trials}) == 500
    assert time.process_time() - began < 5, "the varied fields must be determined once"


def test_messages_count_records_unless_there_is_one_per_epoch() -> None:
    trial = config()
    rare = config(record_every="2 epochs", seed=1)
    assert [Sweep("s", "", trials, Resources()).unit for trials in ((trial,), (trial, rare))] == ["epoch", "record"]
