"""Labels and units of columns."""

import pandas as pd
import pytest

from orchestrator.analysis.quantities import axis_label, change_label, in_shown_unit, quantity


def test_accuracies_are_shown_in_percent_and_their_changes_in_points() -> None:
    frame = pd.DataFrame({"accuracy_test": [0.25], "loss_train": [0.5]})
    assert in_shown_unit(frame, "accuracy_test").item() == pytest.approx(25.0)
    assert in_shown_unit(frame, "loss_train").item() == 0.5
    assert axis_label("accuracy_test").endswith("[%]")
    assert change_label("accuracy_test").endswith("[points]")
    assert axis_label("time_train_seconds").endswith("[s]")
    assert axis_label("stability_ratio") == "sharpness / threshold"
    assert change_label("loss_train") == "change of training loss"


def test_missing_column_is_nan() -> None:
    assert in_shown_unit(pd.DataFrame({"epoch": [1, 2]}), "accuracy_test").isna().all()


def test_quantity_of_a_remeasured_column_is_that_of_its_last_part() -> None:
    assert quantity("fraction-0.5/hessian_trace") == quantity("hessian_trace")
