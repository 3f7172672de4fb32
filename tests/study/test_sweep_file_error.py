"""Issues of a sweep file state the error and the valid values."""

import pytest
import yaml

from orchestrator.study.quantities.catalogue import BUILT_IN
from tests.study.configs import config
from tests.study.sweep_files import ADAM, BASE, DATA, MEASUREMENT, OPTIMIZERS, SGD, TOP, TRIAL, Write, problems

GRID_SHAPE = "must be a mapping of keys to lists of values, or a list of such mappings"


GRID_EMPTY = "is empty; list values by key, or remove grid for a single trial"


NAME = "must be letters, digits, '-' and '_' only (at most 64)"


STOP = (
    "unknown name; did you mean 'loss/train'? valid here: accuracy/ood, accuracy/test, accuracy/train, "
    "accuracy/validation, loss/ood, loss/test, loss/train, loss/validation, r2/ood, r2/test, r2/train, r2/validation"
)


def missing(key: str) -> str:
    return f"trial.{key}: is required and not given; add it, for example with --set {key}=VALUE"


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
        [f"trial.optimizer.momentum = 0.9: unknown key; {ADAM}"],
    ),
    "sam without rho": (BASE.replace("0.05", "0.05, sam: {}"), [missing("optimizer.sam.rho")]),
    "sam, a number": (BASE.replace("0.05", "0.05, sam: 0.1"), ["trial.optimizer.sam = 0.1: must be a mapping"]),
    "sam key": (
        BASE + "grid: {optimizer.sam.rho: [0.1, 0], optimizer.sam.eta: [1]}",
        [
            "grid: optimizer.sam.eta = 1: unknown key; valid here: rho",
            "grid: optimizer.sam.rho = 0: must be greater than 0",
        ],
    ),
    "batch size": (
        BASE + "grid: {batch_size: [0, all, 1.5, true, full]}",
        [f"grid: batch_size = {value!r}: must be an integer of at least 1, or full" for value in (0, "all", 1.5, True)],
    ),
    "an empty list": (
        BASE.replace("digits}", "digits}\n  model: {name: mlp, hidden: []}"),
        ["trial.model.hidden = []: is too short; expected at least 1"],
    ),
    "a stop in percent": (
        BASE + "  stop: {accuracy/train: 99}",
        [
            "trial.stop: accuracy/train is 99, expected at most 1, since accuracies and R2 never exceed it; write a "
            "fraction, for example accuracy/train: 0.99"
        ],
    ),
    "records that never come due": (
        BASE + "  record_every: 3 epochs",
        [
            "trial: record_every is 3 epochs, expected at most the length of the trial, 2 epochs: no record would come "
            "due before its end; record more often, or write record_every: 2 epochs for a single record"
        ],
    ),
    "measurement key": (
        BASE + "  measurement: {fractoin: 0.1}",
        [f"trial.measurement.fractoin = 0.1: unknown key; did you mean 'fraction'? {MEASUREMENT}"],
    ),
    "data key": (
        BASE.replace("digits}", "digits, path: /a}"),
        [
            "trial.data.path = '/a': unknown key; valid here: classes, name, normalise, shift, train_subset, "
            "validation_fraction"
        ],
    ),
    "resources key": (
        BASE + "resources: {cpus: 1}",
        ["resources.cpus = 1: unknown key; did you mean 'cpu'? valid here: cpu, gpu, memory_gib, trials_per_gpu"],
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
        [f"grid: optimizer.momentum = 0.9: unknown key; {ADAM}"],
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
        [
            "trial.model.name = 'cnnn': unknown name; did you mean 'cnn'? valid here: cnn, gru, lstm, mlp, "
            "package.module:name, resnet, torchvision, transformer, vit"
        ],
    ),
    "estimator": (
        BASE + "  measurement: {estimators: [lanczoz]}",
        [
            "trial.measurement.estimators.0.name = 'lanczoz': unknown name; did you mean 'lanczos'?"
            f" valid here: {', '.join(sorted([*BUILT_IN, 'package.module:name']))}"
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
            "resources.gpu = -1: must be a number of at least 0, or auto",
        ],
    ),
    "gpu text": (BASE + "resources: {gpu: all}", ["resources.gpu = 'all': must be a number of at least 0, or auto"]),
    "gpu true": (BASE + "resources: {gpu: true}", ["resources.gpu = True: must be a number of at least 0, or auto"]),
    "memory": (
        BASE + "resources: {memory_gib: 0}",
        ["resources.memory_gib = 0: must be greater than 0"],
    ),
    "gpu nan": (
        BASE + "resources: {gpu: .nan}",
        ["resources.gpu = nan: must be a number of at least 0, or auto"],
    ),
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
    "numbers as classes": (
        BASE.replace("{name: digits}", "{name: digits, classes: [3, 7]}"),
        ["trial.data.classes = [3, 7]: must be an integer of at least 2, or a list of at least two names in quotes"],
    ),
    "one class": (
        BASE.replace("{name: digits}", "{name: digits, classes: 1}"),
        ["trial.data.classes = 1: must be an integer of at least 2, or a list of at least two names in quotes"],
    ),
    "factor of mse": (
        BASE + "  loss: {name: mse, factor: sum}",
        ["trial.loss.factor = 'sum': must be a number above 0, or mean"],
    ),
    "data without a name": (
        BASE.replace("{name: digits}", "digits"),
        [
            "trial.data = 'digits': must be a mapping with the key 'name', one of: cifar10, cifar100, digits, "
            "fashion_mnist, image_folder, mnist, package.module:name, sorting, svhn, table, text"
        ],
    ),
    "boolean seed": (BASE + "  seed: true", ["trial.seed = True: must be an integer"]),
    "quoted lr": (BASE.replace("0.05", "'0.05'"), ["trial.optimizer.lr = '0.05': must be a number"]),
    "list for a number": (BASE.replace("0.05", "[1]"), ["trial.optimizer.lr = [1]: must be a number"]),
    "fractional seed": (BASE + "  seed: 1.5", ["trial.seed = 1.5: must be an integer"]),
    "both lengths": (
        BASE + "  steps: 9",
        ["trial: epochs is 2 and steps is 9, expected only one; remove the other"],
    ),
    "steps 0": (BASE + "  steps: 0", ["trial.steps = 0: must be greater than or equal to 1"]),
    "no distance": (
        BASE + "  record_every: 5",
        ["trial.record_every = 5: must be a number of epochs or steps, for example 1 epoch, 5 epochs or 50 steps"],
    ),
    "records in steps": (
        BASE + "  record_every: 5 steps",
        [
            "trial: record_every is 5 steps, expected a number of epochs in a trial that lasts epochs: 2; give the "
            "length as steps: N, where N is epochs times batches per epoch, or write for example record_every: 1 epoch"
        ],
    ),
    "records in epochs": (
        BASE.replace("epochs: 2", "steps: 90"),
        [
            "trial: record_every is 1 epoch, expected a number of steps in a trial that lasts 90 steps; write for "
            "example record_every: 50 steps, or give the length as epochs: N"
        ],
    ),
    "stop key": (BASE + "  stop: {los/train: 1.0}", [f"trial.stop.key = 'los/train': {STOP}"]),
    "stop keys": (
        BASE + "  stop: {loss/train: 1.0, loss/test: 1.0}",
        [
            "trial.stop: names loss/train, loss/test, expected one quantity and its threshold, for example "
            "{loss/train: 0.01}"
        ],
    ),
    "stop threshold": (BASE + "  stop: {loss/train: low}", ["trial.stop.threshold = 'low': must be a number"]),
    "no epochs": (
        BASE.replace("epochs: 2", "epochs:"),
        ["trial.epochs: is required and not given; write epochs: N, or steps: N"],
    ),
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
        [
            "trial.model = 'cnn': must be a mapping with the key 'name', one of: cnn, gru, lstm, mlp, "
            "package.module:name, resnet, torchvision, transformer, vit"
        ],
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
        [
            *map(missing, ("data", "optimizer")),
            "trial.epochs: is required and not given; write epochs: N, or steps: N",
        ],
    ),
    "no lr": (BASE.replace(", lr: 0.05", ""), [missing("optimizer.lr")]),
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
def test_issues_state_the_error_and_the_valid_values(write: Write, content: str, lines: list[str]) -> None:
    assert problems(write(content)) == lines


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
