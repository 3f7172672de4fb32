"""Problems of expectations in sweep files: all are found when the file is read."""

import pytest

from orchestrator.study.sweep import load_sweep
from tests.study.sweep_files import GRID, Write, problems

MEASURED = GRID.replace("epochs: 2", "epochs: 2\n  measurement: {estimators: [lanczos, {name: top_eigenvalues, k: 3}]}")


@pytest.mark.parametrize(
    "line",
    [
        "{quantity: hessian/lambda_max, at_most: 2 / optimizer.lr}",
        "{quantity: hessian/lambda_3, where: {optimizer.lr: 0.1}, at_least: 0}",
        "{quantity: loss/train, over: first crossing of optimizer.lr, statistic: epoch, at_most: 1}",
        "{quantity: accuracy/test, over: last record, value: 0.9, within: 5%}",
        "{quantity: table1/ood_with_validation, value: -0.0453, within: 0.01}",
        "{quantity: paper/power_iterations, statistic: mean, at_most: 10}",
    ],
)
def test_valid_expectations(write: Write, line: str) -> None:
    sweep = load_sweep(write(f"{MEASURED}expect:\n  - {line}\n"))
    (expectation,) = sweep.expect
    assert expectation.quantity in line


def test_expectations_change_neither_ids_nor_names(write: Write) -> None:
    plain = load_sweep(write(MEASURED))
    path = write(f"{MEASURED}expect: [{{quantity: loss/train, at_most: 1}}]\n")
    assert list(load_sweep(path).by_id) == list(plain.by_id)
    changed = load_sweep(path, ["expect=[{quantity: loss/train, at_most: 2}]"])
    assert changed.name == plain.name
    assert changed.expect[0].at_most == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "{quantity: hessian/trace, at_most: 1}",
            "expect.0.quantity = 'hessian/trace': is not measured by these trials; add exact_trace or sampled_trace or "
            "algorithm1 to measurement.estimators",
        ),
        (
            "{quantity: stability/ratio, at_most: 1}",
            "expect.0.quantity = 'stability/ratio': is not measured by these trials; add stability to "
            "measurement.estimators",
        ),
        (
            "{quantity: hessian/lambda_mx, at_most: 1}",
            "expect.0.quantity = 'hessian/lambda_mx': unknown quantity; did you mean 'hessian/lambda_max'",
        ),
        ("{quantity: xyzzy, at_most: 1}", "expect.0.quantity = 'xyzzy': unknown quantity; docs/reference"),
        ("{quantity: lanczos/history, at_most: 1}", "expect.0.quantity = 'lanczos/history': is a vector"),
        (
            "{quantity: loss/train, where: {optimizer.rate: 1}, at_most: 1}",
            "expect.0.where.optimizer.rate = 1: no trial",
        ),
        (
            "{quantity: loss/train, where: {optimizer.lr: 0.3}, at_most: 1}",
            "expect.0.where = {'optimizer.lr': 0.3}: matches no trial of the sweep",
        ),
        (
            "{quantity: loss/train, at_most: 2 / optimizer.beta1}",
            "expect.0.at_most = '2 / optimizer.beta1': uses optimizer.beta1, which is not a field",
        ),
        (
            "{quantity: loss/train, over: first crossing of model.name, statistic: step, at_most: 1}",
            "expect.0.over = 'model.name': uses model.name, which is 'cnn' and not a number",
        ),
        (
            "{quantity: loss/train, at_least: 3, at_most: 20 * optimizer.lr}",
            "expect.0.at_least = 3.0: is above at_most, which is 2; exchange them",
        ),
        ("{quantity: table1/ood, over: last third, at_most: 1}", "expect.0.quantity = 'table1/ood': is one number for"),
        (
            "{quantity: loss/train, together: true, at_most: optimizer.lr}",
            "expect.0.together = True: needs one accepted range, but it depends on fields that vary; restrict where",
        ),
        ("{quantity: loss/train}", "expect.0: no accepted values are given"),
        (
            "{quantity: loss/train, at_most: 1, colour: red}",
            "expect.0.colour = 'red': unknown key; valid here: at_least",
        ),
        ("{quantity: loss/train, at_most: 1, over: later}", "expect.0.over = 'later': must be all"),
    ],
)
def test_problems(write: Write, line: str, message: str) -> None:
    (found,) = problems(write(f"{MEASURED}expect:\n  - {line}\n"))
    assert found.startswith(message), found


def test_all_problems_are_found_together(write: Write) -> None:
    lines = ["{quantity: xyzzy, at_most: 1}", "{quantity: loss/train, at_most: 1 / model.name}"]
    assert len(problems(write(MEASURED + "expect: [" + ", ".join(lines) + "]\n"))) == 2


def test_a_function_of_the_user_can_return_any_key(write: Write) -> None:
    own = GRID.replace("epochs: 2", 'epochs: 2\n  measurement: {estimators: ["my_package:scale"]}')
    assert load_sweep(write(f"{own}expect: [{{quantity: scale, at_most: 1}}]\n")).expect[0].quantity == "scale"
