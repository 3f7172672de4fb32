"""Classes, splits, normalisation and shifts of a data set."""

from typing import Any

import pytest
import torch

from orchestrator.study.parts.data_config import DigitsData, OwnData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data, load_source
from orchestrator.training.data.samples import DataError

HERE = "tests.training.user_data"


def digits(**options: Any) -> DataSplits:
    return load_data(DigitsData.model_validate({"name": "digits", **options}), torch.device("cpu"))


WHOLE = digits()


def test_classes_are_chosen_and_numbered_from_zero() -> None:
    first, named = digits(classes=3), digits(classes=["2", "0"])
    assert first.classes == ("0", "1", "2")
    assert named.classes == ("2", "0")
    for data, originals in ((first, [0, 1, 2]), (named, [2, 0])):
        expected = torch.cat([WHOLE.test.inputs[WHOLE.test.targets == number] for number in originals])
        chosen = torch.cat([data.test.inputs[data.test.targets == number] for number in range(len(originals))])
        assert torch.equal(chosen, expected)
        assert len(data.ood_noise) == len(data.test)
        assert abs(len(data.validation) / (len(data.train) + len(data.validation)) - 0.1) < 0.01
    assert named.signature.outputs == 2


def test_the_shift_of_an_image_does_not_depend_on_the_classes() -> None:
    chosen = WHOLE.test.targets < 3
    assert torch.equal(digits(classes=3).ood_noise, WHOLE.ood_noise[chosen])


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_the_validation_split_has_its_share(fraction: float) -> None:
    data = digits(validation_fraction=fraction)
    count = len(WHOLE.train) + len(WHOLE.validation)
    assert len(data.validation) == round(fraction * count)
    assert len(data.train) == count - len(data.validation)
    assert torch.equal(data.test.inputs, WHOLE.test.inputs)
    inputs = data.normalise(data.train.inputs).double()
    assert float(inputs.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(inputs.std()) == pytest.approx(1.0, rel=1e-3)


def test_pixels_are_standardised_one_by_one() -> None:
    data = digits(normalise="pixel", train_subset=500)
    inputs = data.normalise(data.train.inputs).double()
    assert inputs.mean(0).abs().max() < 1e-5
    varying = data.train.inputs.double().std(0, correction=0) > 1.0
    assert torch.allclose(inputs.std(0, correction=0)[varying], torch.ones(()).double(), atol=1e-4)


def test_without_normalisation_pixels_are_scaled() -> None:
    data = digits(normalise="none")
    assert torch.allclose(data.normalise(data.test.inputs), data.test.inputs / 255.0)


def test_noise_is_scaled_and_added_before_or_after_normalisation() -> None:
    part = slice(0, 7)
    clean, noise = WHOLE.normalise(WHOLE.test.inputs[part]), WHOLE.ood_noise[part]
    after, _ = digits(shift={"noise": 0.5}).shifted_test(part)
    assert torch.allclose(after, clean + 2.0 * noise, atol=1e-6)
    before, _ = digits(shift={"noise": 0.1, "before": "normalisation"}).shifted_test(part)
    pixels = WHOLE.test.inputs[part] / 255.0 + 0.1 / 0.25 * noise
    assert torch.allclose(before, (255.0 * pixels - WHOLE.mean) / WHOLE.std, atol=1e-4)


def test_a_shift_of_ones_own_is_reproducible() -> None:
    config = DigitsData.model_validate({"name": "digits", "shift": {"name": f"{HERE}:mirrored", "strength": 0.1}})
    first, again = (load_source(config).shifted_test(slice(None)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    flipped = WHOLE.normalise(WHOLE.test.inputs).flip(-1)
    assert 0.05 < float((first[0] - flipped).std()) < 0.2
    assert torch.equal(first[1], WHOLE.test.targets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 11}, "data.classes is 11, expected at most 10"),
        ({"classes": ["0", "x"]}, "data.classes names 'x', expected some of 0, 1"),
        ({"validation_fraction": 0.0001}, "leaves 0 of 1438 samples for validation .* use 0.0 for no validation"),
        ({"classes": 2, "train_subset": 1000}, r"data.train_subset = 1000: digits has \d+ samples"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        digits(**options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("too_few", r"returned .*\(1, 1, 8, 8\), expected .*return a tensor"),
        (
            "unseeded_noise",
            "returned different inputs when it was called again: draw random numbers",
        ),
        ("infinite", "returned values that are not finite"),
    ],
)
def test_a_shift_that_returns_something_else_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"data.shift '.*{name}' {message}"):
        digits(shift=f"{HERE}:{name}")


def test_shifts_that_do_not_fit_the_inputs_are_refused() -> None:
    tokens = OwnData.model_validate({"name": f"{HERE}:tokens", "shift": f"{HERE}:next_token"})
    with pytest.raises(ValueError, match=r"returned tokens 1..5, expected tokens in 0..4"):
        load_source(tokens)
    numbers = OwnData.model_validate({"name": f"{HERE}:values", "shift": {"before": "normalisation"}})
    with pytest.raises(DataError, match="data.shift.before is normalisation, but only images .*: remove before"):
        load_source(numbers)
