"""``--set`` overrides values of a sweep file."""

import re
from dataclasses import replace
from hashlib import sha256

import pytest

from orchestrator.study.quantities.catalogue import estimators_named
from orchestrator.study.sweep import Resources, load_sweep
from tests.study.sweep_files import (
    BASE,
    GRID,
    TRIAL,
    Write,
    optimizer,
    problems,
)


def test_an_override_of_a_trial_key_changes_every_trial(write: Write) -> None:
    sweep = load_sweep(write(GRID), ["epochs=7", "optimizer.momentum=0.9", "measurement.fraction=1"])
    assert len(sweep.trials) == 4
    assert {(t.epochs, optimizer(t).momentum, t.measurement.fraction) for t in sweep.trials} == {(7, 0.9, 1.0)}


def test_an_override_of_a_grid_key_replaces_its_values(write: Write) -> None:
    assert [t.seed for t in load_sweep(write(GRID), ["optimizer.lr=1e-3", "seed=[5, 6, 7]"]).trials] == [5, 6, 7]
    assert [t.seed for t in load_sweep(write(GRID), ["seed=5"]).trials] == [5, 5]


def test_overriding_with_a_list_changes_every_grid(write: Write) -> None:
    source = write(BASE + "grid: [{seed: [0, 1]}, {batch_size: [32]}]\n")
    trials = load_sweep(source, ["seed=[5, 6]"]).trials
    assert [(t.seed, t.batch_size) for t in trials] == [(5, 64), (6, 64), (5, 32), (6, 32)]


@pytest.mark.parametrize("grid", ["", "grid: {}\n", "grid: {batch_size: [32, 64]}\n"])
def test_a_list_for_a_key_with_one_value_is_an_axis_of_the_grid(write: Write, grid: str) -> None:
    trials = load_sweep(write(BASE + grid), ["seed=[5, 6]"]).trials
    assert sorted({t.seed for t in trials}) == [5, 6]
    assert len(trials) == 2 * len({t.batch_size for t in trials}) == (4 if "batch" in grid else 2)
    both = load_sweep(write(BASE + grid), ["seed=[5, 6]", "optimizer.lr=[0.1, 0.2]"]).trials
    assert {(t.seed, t.optimizer.lr) for t in both} == {(5, 0.1), (5, 0.2), (6, 0.1), (6, 0.2)}


def test_a_list_of_optimizers_is_an_axis_of_the_grid(write: Write) -> None:
    trials = load_sweep(write(BASE), ["optimizer=[{name: sgd, lr: 1}, {name: adam, lr: 2}]"]).trials
    assert [t.optimizer.name for t in trials] == ["sgd", "adam"]


@pytest.mark.parametrize("grid", ["", "grid: {seed: [0, 1]}\n"])
def test_a_list_for_a_key_with_a_list_is_one_value(write: Write, grid: str) -> None:
    own = {"name": "package.nets:Net", "widths": [8]}
    overrides = [f"model={own}", "model.widths=[1, 2]", "measurement.estimators=[lanczos, exact_trace]"]
    trials = load_sweep(write(BASE + grid), overrides).trials
    assert len(trials) == (2 if grid else 1)
    assert {t.measurement.estimators for t in trials} == {estimators_named("lanczos", "exact_trace")}
    assert {str(t.flat()["model.widths"]) for t in trials} == {"[1, 2]"}


def test_override_of_a_field_changes_optimizers_in_a_grid(write: Write) -> None:
    source = write(BASE + "grid: {optimizer: [{name: sgd, lr: 1}, {name: adam, lr: 2}]}\n")
    trials = load_sweep(source, ["optimizer.lr=0.5"]).trials
    assert [(t.optimizer.name, t.optimizer.lr) for t in trials] == [("sgd", 0.5), ("adam", 0.5)]


def test_an_override_of_a_whole_optimizer(write: Write) -> None:
    trials = load_sweep(write(GRID), ["optimizer={name: adam, lr: 1}"]).trials
    assert [(t.optimizer.name, t.optimizer.lr) for t in trials] == [("adam", 0.1), ("adam", 0.1)] + [("adam", 0.2)] * 2


def test_an_override_of_a_list_valued_field(write: Write) -> None:
    (trial,) = load_sweep(write(BASE), ["measurement.estimators=[lanczos]"]).trials
    assert trial.measurement.estimators == estimators_named("lanczos")


@pytest.mark.parametrize("overrides", [["resources.cpu=3", "resources.gpu=0.5"], ["resources={cpu: 3, gpu: 0.5}"]])
def test_an_override_of_resources_changes_neither_trials_nor_name(write: Write, overrides: list[str]) -> None:
    sweep = load_sweep(write(GRID), overrides)
    assert sweep == replace(load_sweep(write(GRID)), resources=Resources(cpu=3, gpu=0.5))


def test_a_share_of_a_gpu_is_a_number_or_auto(write: Write) -> None:
    shares = [load_sweep(write(BASE), [f"resources.gpu={gpu}"]).resources.gpu for gpu in ("auto", "2", "0.125")]
    assert shares == ["auto", 2.0, 0.125]


@pytest.mark.parametrize("override", ["keep_checkpoints=every 10", "description=over night", "resources.cpu=2"])
def test_an_override_beside_the_trials_does_not_rename_a_renamed_sweep(write: Write, override: str) -> None:
    other = load_sweep(write(GRID), ["epochs=7"])
    key, _, value = override.partition("=")
    sweep = load_sweep(write(GRID), [override, "epochs=7"])
    assert (sweep.name, sweep.trials) == (other.name, other.trials)
    if hasattr(sweep, key):
        assert getattr(sweep, key) == value


def test_a_sweep_stored_under_its_former_name_keeps_it(write: Write) -> None:
    overrides = ["resources.gpu=0.125", "epochs=7"]
    former = "x-" + sha256(b"epochs=7\nresources.gpu=0.125").hexdigest()[:6]
    assert load_sweep(write(GRID), overrides, lambda name: name == former).name == former
    current = load_sweep(write(GRID), overrides).name
    assert current == load_sweep(write(GRID), ["epochs=7"]).name != former
    assert load_sweep(write(GRID), overrides, lambda name: name == current).name == current


def test_the_order_of_overrides_does_not_change_the_name(write: Write) -> None:
    source = write(GRID)
    one, two = load_sweep(source, ["epochs=7", "seed=3"]), load_sweep(source, ["seed=3", "epochs=7"])
    assert re.fullmatch(r"x-[0-9a-f]{6}", one.name)
    assert one == two
    names = {
        one.name,
        load_sweep(source).name,
        load_sweep(source, ["seed=3"]).name,
        load_sweep(source, ["seed=4"]).name,
    }
    assert len(names) == 4


def test_the_order_of_nested_overrides_does_not_matter(write: Write) -> None:
    source, overrides = write(BASE), ["optimizer.lr=0.5", "optimizer={name: adam, lr: 1}"]
    one, two = load_sweep(source, overrides), load_sweep(source, overrides[::-1])
    assert one == two
    assert (one.trials[0].optimizer.name, one.trials[0].optimizer.lr) == ("adam", 0.5)


@pytest.mark.parametrize("override", ["epochs", "=3", ""])
def test_an_override_without_a_value_is_refused(write: Write, override: str) -> None:
    message = f"--set {override!r}: expected key=value, for example --set optimizer.lr=0.1"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_sweep(write(BASE), [override])


def test_a_duplicate_override_is_refused(write: Write) -> None:
    message = "--set 'seed=2': seed is set twice; keep one of the values"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_sweep(write(BASE), ["seed=1", "epochs=3", "seed=2"])


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("epocs=3", f"trial.epocs = 3: unknown key; did you mean 'epochs'? {TRIAL}"),
        ("optimizer.lr=-1", "trial.optimizer.lr = -1: must be greater than 0"),
        ("optimizer.lr=", "trial.optimizer.lr = None: must be a number"),
        ("seed=[1, x]", "grid: seed = 'x': must be an integer"),
        ("epocs=[1, 2]", f"trial.epocs = [1, 2]: unknown key; did you mean 'epochs'? {TRIAL}"),
        ("seed=[1", "trial.seed = '[1': must be an integer"),
        ("seed=!!bool maybe", "trial.seed = '!!bool maybe': must be an integer"),
        ("seed=010", "trial.seed = '010': must be an integer"),
        ("epochs.x=1", "trial.epochs = {'x': 1}: must be an integer"),
        (
            "resources.cpus=1",
            "resources.cpus = 1: unknown key; did you mean 'cpu'? valid here: cpu, gpu, memory_gib, trials_per_gpu",
        ),
        ("name=y", f"trial.name = 'y': unknown key; {TRIAL}"),
        ("a..b=1", f"trial.a = {{'': {{'b': 1}}}}: unknown key; {TRIAL}"),
    ],
)
def test_an_invalid_override_is_an_issue_of_the_trial(write: Write, override: str, line: str) -> None:
    assert problems(write(BASE), override) == [line]


def test_an_invalid_override_of_a_grid_key_is_an_issue_of_the_grid(write: Write) -> None:
    assert problems(write(GRID), "seed=[-1, 2]") == ["grid: seed = -1: must be greater than or equal to 0"]
