"""A sweep file becomes a list of trials, or a list of its issues."""

import re
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.study.optimizer_config import SgdConfig
from orchestrator.study.sweep import Resources, Sweep, load_sweep
from orchestrator.study.sweep_file_error import SweepFileError
from tests.study.configs import config

REPOSITORY = Path(__file__).parents[2]

BASE = """\
name: x
trial:
  data: {name: digits}
  optimizer: {name: sgd, lr: 0.05}
  epochs: 2
"""
TOP = "valid here: description, grid, keep_checkpoints, name, resources, sample, trial"
TRIAL = "valid here: augmentation, batch_size, data, epochs, measurement, model, optimizer, schedule, seed"
OPTIMIZERS = "adagrad, adam, adamw, rmsprop, sgd"
DATA = "cifar10, cifar100, digits, fashion_mnist, image_folder, mnist, svhn"
SGD = "valid here: lr, momentum, name, nesterov, weight_decay"
MEASUREMENT = (
    "valid here: algorithm1_every, algorithm1_iterations, algorithm1_probes, estimators, fraction,"
    " lanczos_coarse_fraction, lanczos_products, lanczos_tolerance"
)

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a sweep file into a new folder. Returns its path."""

    def write(content: str, name: str = "x.yaml") -> str:
        path = tmp_path / name
        path.write_text(textwrap.dedent(content))
        return str(path)

    return write


def problems(source: str, *overrides: str) -> list[str]:
    """The issues of a sweep file, one per line."""
    with pytest.raises(SweepFileError) as caught:
        load_sweep(source, overrides)
    header, *lines = str(caught.value).split("\n  ")
    count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    assert header == f"{source}: {count}, nothing was started"
    assert len(lines) == len(caught.value.issues)
    return lines


def optimizer(trial: Any) -> SgdConfig:
    assert isinstance(trial.optimizer, SgdConfig)
    return trial.optimizer


# --- trials of a sweep file ---


def test_the_header_of_quickstart_is_right() -> None:
    sweep = load_sweep(str(REPOSITORY / "sweeps/quickstart.yaml"))
    header = (REPOSITORY / "sweeps/quickstart.yaml").read_text().split("name:")[0]
    assert re.search(r"\b12 trials\b", header)
    assert len(sweep.trials) == len(sweep.by_id) == 12
    assert sweep.varied == ("optimizer.lr", "batch_size", "seed")
    assert {optimizer(trial).lr for trial in sweep.trials} == {0.05, 0.01}
    assert "Two learning rates, two batch sizes, three seeds" in header
    assert sweep.resources == Resources(cpu=1)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_sweep_states_its_number_of_trials(path: Path) -> None:
    sweep = load_sweep(path.stem)
    header = path.read_text().split("name:")[0]
    counts = re.findall(r"\b(\d+) trials\b", header)
    assert sweep.name == path.stem
    assert str(len(sweep.trials)) in counts


def test_a_sweep_in_the_current_directory_hides_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(load_sweep("quickstart").trials) == 12
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps/quickstart.yaml").write_text(BASE)
    assert load_sweep("quickstart").name == "x"


def test_no_grid_is_one_trial(write: Write) -> None:
    sweep = load_sweep(write(BASE))
    assert sweep.trials == (config(),)
    assert (sweep.name, sweep.description, sweep.resources) == ("x", "", Resources())


def test_a_file_without_a_name_is_named_after_itself(write: Write) -> None:
    assert load_sweep(write(BASE.removeprefix("name: x\n"), "night.yaml")).name == "night"


def test_the_last_key_of_a_grid_varies_fastest(write: Write) -> None:
    sweep = load_sweep(write(BASE + "grid: {optimizer.lr: [0.2, 0.1], seed: [1, 0]}\n"))
    assert [(optimizer(t).lr, t.seed) for t in sweep.trials] == [(0.2, 1), (0.2, 0), (0.1, 1), (0.1, 0)]
    assert sweep.label(sweep.trials[0]) == "lr=0.2 seed=1"


def test_several_grids_are_their_union(write: Write) -> None:
    sweep = load_sweep(write(BASE + "grid: [{seed: [0, 1]}, {seed: [1, 2], batch_size: [64]}, {batch_size: [32]}]\n"))
    assert [(t.seed, t.batch_size) for t in sweep.trials] == [(0, 64), (1, 64), (2, 64), (0, 32)]


def test_an_empty_grid_among_others_is_the_base_trial(write: Write) -> None:
    assert [t.seed for t in load_sweep(write(BASE + "grid: [{}, {seed: [1]}]\n")).trials] == [0, 1]


def test_a_whole_optimizer_in_a_grid_keeps_the_varied_learning_rates(write: Write) -> None:
    for keys in ("optimizer.lr: [1, 2], optimizer: [{name: adam, lr: 3}]",
                 "optimizer: [{name: adam, lr: 3}], optimizer.lr: [1, 2]"):  # fmt: skip
        sweep = load_sweep(write(BASE + f"grid: {{{keys}}}\n"))
        assert [(t.optimizer.name, t.optimizer.lr) for t in sweep.trials] == [("adam", 1.0), ("adam", 2.0)]


def test_numbers_written_without_a_dot_are_numbers(write: Write) -> None:
    sweep = load_sweep(write(BASE.replace("0.05", "1e-3") + "grid: {optimizer.weight_decay: [5e-4, 1, .5e-1]}\n"))
    assert [optimizer(t).weight_decay for t in sweep.trials] == [5e-4, 1.0, 0.05]
    assert {optimizer(t).lr for t in sweep.trials} == {1e-3}


def test_two_grids_may_share_lists_by_anchor(write: Write) -> None:
    sweep = load_sweep(write(BASE + "grid: [{seed: &seeds [0, 1]}, {seed: *seeds, batch_size: [32]}]\n"))
    assert [(t.seed, t.batch_size) for t in sweep.trials] == [(0, 64), (1, 64), (0, 32), (1, 32)]


# --- overrides ---

GRID = BASE + "grid: {optimizer.lr: [0.1, 0.2], seed: [0, 1]}\n"


def test_an_override_of_a_trial_key_changes_every_trial(write: Write) -> None:
    sweep = load_sweep(write(GRID), ["epochs=7", "optimizer.momentum=0.9", "measurement.fraction=1"])
    assert len(sweep.trials) == 4
    assert {(t.epochs, optimizer(t).momentum, t.measurement.fraction) for t in sweep.trials} == {(7, 0.9, 1.0)}


def test_an_override_of_a_grid_key_replaces_its_values(write: Write) -> None:
    assert [t.seed for t in load_sweep(write(GRID), ["optimizer.lr=1e-3", "seed=[5, 6, 7]"]).trials] == [5, 6, 7]
    assert [t.seed for t in load_sweep(write(GRID), ["seed=5"]).trials] == [5, 5]


def test_an_override_by_a_list_changes_every_grid(write: Write) -> None:
    source = write(BASE + "grid: [{seed: [0, 1]}, {batch_size: [32]}]\n")
    trials = load_sweep(source, ["seed=[5, 6]"]).trials
    assert [(t.seed, t.batch_size) for t in trials] == [(5, 64), (6, 64), (5, 32), (6, 32)]


def test_an_override_reaches_into_a_grid_of_whole_optimizers(write: Write) -> None:
    source = write(BASE + "grid: {optimizer: [{name: sgd, lr: 1}, {name: adam, lr: 2}]}\n")
    trials = load_sweep(source, ["optimizer.lr=0.5"]).trials
    assert [(t.optimizer.name, t.optimizer.lr) for t in trials] == [("sgd", 0.5), ("adam", 0.5)]


def test_an_override_of_a_whole_optimizer(write: Write) -> None:
    trials = load_sweep(write(GRID), ["optimizer={name: adam, lr: 1}"]).trials
    assert [(t.optimizer.name, t.optimizer.lr) for t in trials] == [("adam", 0.1), ("adam", 0.1)] + [("adam", 0.2)] * 2


def test_an_override_of_a_list_valued_field(write: Write) -> None:
    (trial,) = load_sweep(write(BASE), ["measurement.estimators=[lanczos]"]).trials
    assert trial.measurement.estimators == ("lanczos",)


def test_an_override_of_resources_changes_no_trial(write: Write) -> None:
    plain = load_sweep(write(GRID))
    for overrides in (["resources.cpu=3", "resources.gpu=0.5"], ["resources={cpu: 3, gpu: 0.5}"]):
        sweep = load_sweep(write(GRID), overrides)
        assert sweep.resources == Resources(cpu=3, gpu=0.5)
        assert sweep.trials == plain.trials


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
        ("seed=[1, 2]", "trial.seed = [1, 2]: must be an integer"),
        ("seed=[1", "trial.seed = '[1': must be an integer"),
        ("seed=!!bool maybe", "trial.seed = '!!bool maybe': must be an integer"),
        ("seed=010", "trial.seed = '010': must be an integer"),
        ("epochs.x=1", "trial.epochs = {'x': 1}: must be an integer"),
        ("resources.cpus=1", "resources.cpus = 1: unknown key; did you mean 'cpu'? valid here: cpu, gpu"),
        ("name=y", f"trial.name = 'y': unknown key; {TRIAL}"),
        ("a..b=1", f"trial.a = {{'': {{'b': 1}}}}: unknown key; {TRIAL}"),
    ],
)
def test_an_invalid_override_is_an_issue_of_the_trial(write: Write, override: str, line: str) -> None:
    assert problems(write(BASE), override) == [line]


def test_an_invalid_override_of_a_grid_key_is_an_issue_of_the_grid(write: Write) -> None:
    assert problems(write(GRID), "seed=[-1, 2]") == ["grid: seed = -1: must be greater than or equal to 0"]


# --- issues ---

GRID_SHAPE = "must be a mapping of keys to lists of values, or a list of such mappings"
GRID_EMPTY = "is empty; list values by key, or remove grid for a single trial"
NAME = "must be letters, digits, '-' and '_' only (at most 64)"
WRONG: dict[str, tuple[str, list[str]]] = {
    # unknown keys, at every level
    "sweep key": (BASE + "gird: 1", [f"gird = 1: unknown key; did you mean 'grid'? {TOP}"]),
    "trial key": (BASE + "  sed: 1", [f"trial.sed = 1: unknown key; did you mean 'seed'? {TRIAL}"]),
    "key like no other": (BASE + "  wxyz: 1", [f"trial.wxyz = 1: unknown key; {TRIAL}"]),
    "optimizer key": (
        BASE.replace("0.05", "0.05, momentun: 0.9"),
        [f"trial.optimizer.momentun = 0.9: unknown key; did you mean 'momentum'? {SGD}"],
    ),
    "key of another optimizer": (
        BASE.replace("sgd, lr: 0.05", "adam, lr: 0.05, momentum: 0.9"),
        ["trial.optimizer.momentum = 0.9: unknown key; valid here: beta1, beta2, eps, lr, name, weight_decay"],
    ),
    "measurement key": (
        BASE + "  measurement: {fractoin: 0.1}",
        [f"trial.measurement.fractoin = 0.1: unknown key; did you mean 'fraction'? {MEASUREMENT}"],
    ),
    "data key": (
        BASE.replace("digits}", "digits, path: /a}"),
        ["trial.data.path = '/a': unknown key; valid here: name, train_subset"],
    ),
    "resources key": (
        BASE + "resources: {cpus: 1}",
        ["resources.cpus = 1: unknown key; did you mean 'cpu'? valid here: cpu, gpu"],
    ),
    "grid key": (
        BASE + "grid: {sed: [1]}",
        [f"grid: sed = 1: unknown key; did you mean 'seed'? {TRIAL}"],
    ),
    "deep grid key": (
        BASE + "grid: {optimizer.momentun: [0.9]}",
        [f"grid: optimizer.momentun = 0.9: unknown key; did you mean 'momentum'? {SGD}"],
    ),
    "grid key in a whole": (
        BASE + "grid: {optimizer: [{name: adam, lr: 1, momentum: 0.9}]}",
        ["grid: optimizer.momentum = 0.9: unknown key; valid here: beta1, beta2, eps, lr, name, weight_decay"],
    ),
    "grid key into a number": (BASE + "grid: {seed.x: [1]}", ["grid: seed = {'x': 1}: must be an integer"]),
    "empty grid key": (BASE + "grid: {'': [1]}", [f"grid:  = 1: unknown key; {TRIAL}"]),
    # unknown names
    "optimizer name": (
        BASE.replace("sgd", "sdg"),
        [f"trial.optimizer.name = 'sdg': unknown name; did you mean 'sgd'? valid here: {OPTIMIZERS}"],
    ),
    "optimizer name, a list": (
        BASE.replace("sgd", "[sgd]"),
        [f"trial.optimizer.name = ['sgd']: unknown name; did you mean 'sgd'? valid here: {OPTIMIZERS}"],
    ),
    "optimizer name, null": (
        BASE.replace("sgd", "null"),
        [f"trial.optimizer.name = None: unknown name; valid here: {OPTIMIZERS}"],
    ),
    "data name": (
        BASE.replace("digits", "digit"),
        [f"trial.data.name = 'digit': unknown name; did you mean 'digits'? valid here: {DATA}"],
    ),
    "model name": (
        BASE + "  model: {name: cnnn}",
        ["trial.model.name = 'cnnn': unknown name; did you mean 'cnn'? valid here: cnn, mlp, package.module:Class"],
    ),
    "estimator": (
        BASE + "  measurement: {estimators: [lanczoz]}",
        [
            "trial.measurement.estimators.0 = 'lanczoz': unknown name; did you mean 'lanczos'?"
            " valid here: algorithm1, exact_trace, lanczos, sampled_trace"
        ],
    ),
    "estimator twice": (
        BASE + "  measurement: {estimators: [lanczos, lanczos]}",
        ["trial.measurement.estimators = ['lanczos', 'lanczos']: names an estimator twice; name each once"],
    ),
    "both traces": (
        BASE + "  measurement: {estimators: [exact_trace, sampled_trace]}",
        [
            "trial.measurement.estimators = ['exact_trace', 'sampled_trace']: exact_trace and sampled_trace"
            " estimate the same quantity; name one of them"
        ],
    ),
    "no product for the second stage": (
        BASE + "  measurement: {lanczos_products: 1, lanczos_coarse_fraction: 0.1}",
        [
            "trial.measurement: lanczos_products is 1, expected at least 2 with a lanczos_coarse_fraction, one for"
            " each stage"
        ],
    ),
    # values out of range
    "negative lr": (BASE.replace("0.05", "-1"), ["trial.optimizer.lr = -1: must be greater than 0"]),
    "zero lr": (BASE.replace("0.05", "0"), ["trial.optimizer.lr = 0: must be greater than 0"]),
    "nan lr": (BASE.replace("0.05", ".nan"), ["trial.optimizer.lr = nan: must be a finite number"]),
    "inf lr": (BASE.replace("0.05", ".inf"), ["trial.optimizer.lr = inf: must be a finite number"]),
    "fraction 0": (
        BASE + "  measurement: {fraction: 0}",
        ["trial.measurement.fraction = 0: must be greater than 0"],
    ),
    "fraction 1.5": (
        BASE + "  measurement: {fraction: 1.5}",
        ["trial.measurement.fraction = 1.5: must be less than or equal to 1"],
    ),
    "momentum 1": (
        BASE.replace("0.05", "0.05, momentum: 1"),
        ["trial.optimizer.momentum = 1: must be less than 1"],
    ),
    "epochs 0": (BASE.replace("epochs: 2", "epochs: 0"), ["trial.epochs = 0: must be greater than or equal to 1"]),
    "seed too large": (BASE + "  seed: 2147483648", ["trial.seed = 2147483648: must be less than 2147483648"]),
    "one probe": (
        BASE + "  measurement: {algorithm1_probes: 1}",
        ["trial.measurement.algorithm1_probes = 1: must be greater than or equal to 2"],
    ),
    "resources": (
        BASE + "resources: {cpu: 0, gpu: -1}",
        [
            "resources.cpu = 0: must be greater than or equal to 1",
            "resources.gpu = -1: must be greater than or equal to 0",
        ],
    ),
    "gpu nan": (BASE + "resources: {gpu: .nan}", ["resources.gpu = nan: must be a finite number"]),
    "empty path": (
        BASE.replace("{name: digits}", "{name: image_folder, path: ''}"),
        ["trial.data.path = '': must not be empty"],
    ),
    "nobody's path": (
        BASE.replace("{name: digits}", "{name: image_folder, path: ~nobody_here/a}"),
        ["trial.data.path = '~nobody_here/a': home folder '~nobody_here' does not exist; write the full path"],
    ),
    # values of another type
    "boolean lr": (BASE.replace("0.05", "yes"), ["trial.optimizer.lr = True: must be a number"]),
    "boolean seed": (BASE + "  seed: true", ["trial.seed = True: must be an integer"]),
    "quoted lr": (BASE.replace("0.05", "'0.05'"), ["trial.optimizer.lr = '0.05': must be a number"]),
    "list for a number": (BASE.replace("0.05", "[1]"), ["trial.optimizer.lr = [1]: must be a number"]),
    "fractional seed": (BASE + "  seed: 1.5", ["trial.seed = 1.5: must be an integer"]),
    "no epochs": (BASE.replace("epochs: 2", "epochs:"), ["trial.epochs = None: must be an integer"]),
    "date": (BASE + "  seed: 2024-01-01", ["trial.seed = datetime.date(2024, 1, 1): must be an integer"]),
    "numeric path": (
        BASE.replace("{name: digits}", "{name: image_folder, path: 3}"),
        ["trial.data.path = 3: must be text"],
    ),
    "estimators, no list": (
        BASE + "  measurement: {estimators: lanczos}",
        ["trial.measurement.estimators = 'lanczos': must be a list"],
    ),
    "description": (BASE + "description: 3", ["description = 3: must be text"]),
    "optimizer, text": (
        BASE.replace("{name: sgd, lr: 0.05}", "sgd"),
        [f"trial.optimizer = 'sgd': must be a mapping with the key 'name', one of: {OPTIMIZERS}"],
    ),
    "optimizer, list": (
        BASE.replace("{name: sgd, lr: 0.05}", "[sgd]"),
        [f"trial.optimizer = ['sgd']: must be a mapping with the key 'name', one of: {OPTIMIZERS}"],
    ),
    "optimizer, null": (
        BASE.replace("{name: sgd, lr: 0.05}", "null"),
        [f"trial.optimizer = None: must be a mapping with the key 'name', one of: {OPTIMIZERS}"],
    ),
    "optimizer without name": (
        BASE.replace("name: sgd, ", ""),
        [f"trial.optimizer = {{'lr': 0.05}}: must be a mapping with the key 'name', one of: {OPTIMIZERS}"],
    ),
    "optimizer without name, beside a grid": (
        BASE.replace("name: sgd, ", "") + "grid: {optimizer.lr: [1]}",
        [f"trial.optimizer = {{'lr': 1}}: must be a mapping with the key 'name', one of: {OPTIMIZERS}"],
    ),
    "model, text": (
        BASE + "  model: cnn",
        ["trial.model = 'cnn': must be a mapping with the key 'name', one of: cnn, mlp, package.module:Class"],
    ),
    "measurement, list": (BASE + "  measurement: [1]", ["trial.measurement = [1]: must be a mapping"]),
    "resources, list": (BASE + "resources: [1]", ["resources = [1]: must be a mapping"]),
    "resources, null": (BASE + "resources:", ["resources = None: must be a mapping"]),
    "deep nonsense": (
        BASE + "  seed: " + "[" * 200 + "]" * 200,
        [f"trial.seed = {'[' * 57}...: must be an integer"],
    ),
    "a mapping within itself": (
        BASE.replace("{name: sgd, lr: 0.05}", "&o {name: sgd, lr: *o}"),
        ["trial.optimizer.lr = {'name': 'sgd', 'lr': {...}}: must be a number"],
    ),
    # the trial
    "no trial": ("name: x", ["trial: is required and not given"]),
    "trial null": ("name: x\ntrial:", ["trial = None: must be a mapping"]),
    "trial list": ("name: x\ntrial: [1]", ["trial = [1]: must be a mapping"]),
    "trial empty": (
        "name: x\ntrial: {}",
        [f"trial.{key}: is required and not given" for key in ("data", "optimizer", "epochs")],
    ),
    "no lr": (BASE.replace(", lr: 0.05", ""), ["trial.optimizer.lr: is required and not given"]),
    # the grid
    "grid null": (BASE + "grid:", [f"grid = None: {GRID_EMPTY}"]),
    "grid empty": (BASE + "grid: {}", [f"grid = {{}}: {GRID_EMPTY}"]),
    "no grids": (BASE + "grid: []", [f"grid = []: {GRID_EMPTY}"]),
    "one empty grid": (BASE + "grid: [{}]", [f"grid = [{{}}]: {GRID_EMPTY}"]),
    "grid text": (BASE + "grid: seeds", [f"grid = 'seeds': {GRID_SHAPE}"]),
    "grid of numbers": (BASE + "grid: [{seed: [1]}, 2]", [f"grid = 2: {GRID_SHAPE}"]),
    "no values": (BASE + "grid: {seed: []}", ["grid: seed = []: is empty; give at least one value"]),
    "a value for a list": (BASE + "grid: {seed: 3}", ["grid: seed = 3: must be a list of values"]),
    "null for a list": (BASE + "grid: {seed: }", ["grid: seed = None: must be a list of values"]),
    "second grid": (BASE + "grid: [{seed: [1]}, {seed: 3}]", ["grid: seed = 3: must be a list of values"]),
    "nested grid": (
        BASE + "grid: {optimizer: {lr: [1]}}",
        ["grid: optimizer = {'lr': [1]}: must be a list of values; write a nested key with dots: optimizer.lr: [...]"],
    ),
    "values": (
        BASE + "grid: {optimizer.lr: [0.1, -1, .nan, true, '0.1']}",
        [
            "grid: optimizer.lr = -1: must be greater than 0",
            "grid: optimizer.lr = nan: must be a finite number",
            "grid: optimizer.lr = True: must be a number",
            "grid: optimizer.lr = '0.1': must be a number",
        ],
    ),
    "each wrong value once": (
        BASE + "grid: {seed: [-1], batch_size: [1, 2, 3]}",
        ["grid: seed = -1: must be greater than or equal to 0"],
    ),
    # keys that are not text
    "numeric sweep key": (BASE + "1: 2", ["1 = 1: keys must be text"]),
    "numeric trial key": (BASE + "  1: 2", ["trial.1 = 1: keys must be text"]),
    "numeric optimizer key": (
        BASE.replace("0.05", "0.05, 3: 4"),
        ["trial.optimizer.3 = 3: keys must be text"],
    ),
    "numeric grid key": (BASE + "grid: {1: [2]}", ["grid: 1 = [2]: keys must be text"]),
    "boolean grid key": (BASE + "grid: {on: [2]}", ["grid: True = [2]: keys must be text"]),
    # names of folders
    **{
        f"name {name!r}": (
            BASE.replace("name: x", f"name: {yaml.dump(name).splitlines()[0]}"),
            [f"name = {name!r}: {NAME}"],
        )
        for name in ("../x", "a/b", "", "..", "/x", "a b", "-x", "x.y", "ä")
    },
    "name with line break": (BASE.replace("name: x", 'name: "x\\n"'), [f"name = 'x\\n': {NAME}"]),
    "long name": (BASE.replace("name: x", "name: " + "a" * 65), [f"name = '{'a' * 56}...: {NAME}"]),
    "numeric name": (BASE.replace("name: x", "name: 3"), ["name = 3: must be text"]),
    "name null": (BASE.replace("name: x", "name:"), ["name = None: must be text"]),
    # different configs with one id
    "two lengths": (
        BASE + "grid: {epochs: [2, 3]}",
        [f"epochs = 3: gives the same trial ({config().trial_id}) as 2; keep the larger one"],
    ),
    "two folders": (
        BASE.replace("{name: digits}", "{name: image_folder, path: /a}") + "grid: {data.path: [/a, /b]}",
        [
            "data.path = '/b': gives the same trial"
            f" ({config(data={'name': 'image_folder', 'path': '/a'}).trial_id}) as '/a';"
            " the path of the data is not part of a trial; keep one"
        ],
    ),
    # not a sweep
    "text": ("hello", ["file = 'hello': must be a mapping with the keys name, trial and grid"]),
    "list": ("- 1", ["file = [1]: must be a mapping with the keys name, trial and grid"]),
    "nothing": ("", ["file = None: must be a mapping with the keys name, trial and grid"]),
}


@pytest.mark.parametrize(("content", "lines"), WRONG.values(), ids=WRONG)
def test_issues_say_what_is_wrong_and_what_is_valid(write: Write, content: str, lines: list[str]) -> None:
    assert problems(write(content)) == lines


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            f"grid: {{seed: {list(range(1000))}, batch_size: {list(range(1, 101))}, epochs: {list(range(1, 101))}}}",
            "grid: asks for 10,000,000 trials (1,000 x 100 x 100), expected at most 100,000; "
            "remove values, or draw some by sample:",
        ),
        (
            f"grid: [{{seed: {list(range(400))}, batch_size: {list(range(1, 251))}}}, {{seed: [7]}}]",
            "grid: asks for 100,001 trials (400 x 250), expected at most 100,000; "
            "remove values, or draw some by sample:",
        ),
        (
            "sample: {trials: 100000000, values: {optimizer.lr: {uniform: [0.1, 0.2]}}}\ngrid: {seed: [0, 1]}",
            "sample: trials: asks for 200,000,000 trials (100,000,000 x 2), expected at most 100,000; draw fewer",
        ),
    ],
)
def test_too_many_trials_are_refused_immediately(write: Write, more: str, line: str) -> None:
    source = write(f"{BASE}{more}\n")
    began = time.monotonic()
    assert problems(source) == [line]
    assert time.monotonic() - began < 3


def test_all_issues_are_reported_together(write: Write) -> None:
    source = write("""\
        name: ../x
        gird: 1
        trial:
          data: {name: digits}
          optimizer: {name: sgd, lr: -1, momentum: 1}
          epochs: 0
          sed: 1
          measurement: {fraction: 0}
        grid: {seed: [-1, 2], batch_sizes: [1], measurement.lanczos_products: 3}
        resources: {cpu: 0}
    """)
    assert sorted(line.partition(" = ")[0] for line in problems(source)) == [
        "gird",
        "grid: batch_sizes",
        "grid: measurement.lanczos_products",
        "grid: seed",
        "name",
        "resources.cpu",
        "trial.epochs",
        "trial.measurement.fraction",
        "trial.optimizer.lr",
        "trial.optimizer.momentum",
        "trial.sed",
    ]


NO_YAML: dict[str, tuple[str | bytes, str]] = {
    "key twice": (BASE + "grid: {seed: [1], seed: [2]}", "x.yaml:6:19: key 'seed' is given twice"),
    "top key twice": (BASE + "name: y", "x.yaml:6:1: key 'name' is given twice"),
    "bracket": ("a: [1", "x.yaml:1:6: expected ',' or ']', but got '<stream end>'"),
    "tab": ("a:\n\tb: 1", "x.yaml:2:1: found character '\\t' that cannot start any token"),
    "two documents": (BASE + "---\na: 1", "x.yaml:6:1: but found another document"),
    "unhashable key": (BASE + "grid: {? [a, b] : [2]}", "x.yaml:6:10: found unhashable key"),
    "octal": (
        BASE + "  seed: 010",
        "x.yaml:6:9: '010' is octal or base 60 in YAML; write a decimal number, or quote it if it is text",
    ),
    "base 60": (
        BASE + "  seed: 1:30",
        "x.yaml:6:9: '1:30' is octal or base 60 in YAML; write a decimal number, or quote it if it is text",
    ),
    "13th month": (
        BASE + "  seed: 2024-13-01",
        "x.yaml:6:9: '2024-13-01' cannot be read as timestamp; quote it if it is text",
    ),
    "thousands of digits": (
        BASE + "  seed: 1" + "0" * 5000,
        f"x.yaml:6:9: '1{'0' * 38} cannot be read as int; quote it if it is text",
    ),
    "no boolean": (
        BASE + "  seed: !!bool maybe",
        "x.yaml:6:9: 'maybe' cannot be read as bool; quote it if it is text",
    ),
    "no timestamp": (
        BASE + "  seed: !!timestamp soon",
        "x.yaml:6:9: 'soon' cannot be read as timestamp; quote it if it is text",
    ),
    "no integer": (BASE + "  seed: !!int ''", "x.yaml:6:9: '' cannot be read as int; quote it if it is text"),
    "mapping as number": (BASE + "  seed: !!float {a: b}", "x.yaml:6:9: expected a scalar node, but found mapping"),
    "code": (
        BASE + "  seed: !!python/object/apply:os.getcwd []",
        "x.yaml:6:9: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd'",
    ),
    "too deep": (BASE + "  seed: " + "[" * 600 + "]" * 600, "x.yaml is nested too deeply for a sweep file"),
    "no text": (b"name: \xff\xfe", "x.yaml is not a text file: 'utf-8' codec can't decode byte 0xff in position 6"),
    "zero byte": ("name: x\0", "x.yaml: unacceptable character #x0000"),
}


@pytest.mark.parametrize(("content", "message"), NO_YAML.values(), ids=NO_YAML)
def test_invalid_yaml_is_reported_with_its_position(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/{message}")):
        load_sweep(str(path))


# --- finding the file ---


def test_an_unknown_sweep_lists_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps/at_home.yaml").write_text(BASE)
    with pytest.raises(ValueError, match="no sweep is named 'quikstart'") as caught:
        load_sweep("quikstart")
    assert str(caught.value).startswith(
        "no sweep is named 'quikstart'; give a path to a .yaml file or one of: at_home, "
    )
    assert "quickstart" in str(caught.value).partition("one of: ")[2].split(", ")


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


def test_a_name_may_not_equal_the_file_name_of_another_sweep(write: Write) -> None:
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
    with pytest.raises(ValueError, match="give enough of one id") as caught:
        sweep.find(first)
    header, *lines = str(caught.value).split("\n  ")
    assert header == f"{first!r} matches {len(matches)} trials of sweep 'x'; give enough of one id:"
    assert lines == [f"{trial.trial_id}  seed={trial.seed}" for trial in matches]


@pytest.mark.parametrize(("prefix", "found"), [("xyz", "matches no trial"), ("", "matches 40 trials")])
def test_all_trials_are_listed_if_none_matches(sweep: Sweep, prefix: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"^'{prefix}' {found} of sweep 'x'") as caught:
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


@pytest.mark.parametrize("path", sorted((REPOSITORY / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_labels_of_a_sweep_are_unique(path: Path) -> None:
    sweep = load_sweep(path.stem)
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
