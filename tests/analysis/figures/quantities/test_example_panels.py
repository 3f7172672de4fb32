"""One panel per trial."""

import pandas as pd
import pytest

from orchestrator.analysis.figures.quantities.example_panels import example_panels


@pytest.mark.parametrize("trials", [1, 2, 3, 4, 6])
def test_every_trial_has_a_panel_with_its_rows(trials: int) -> None:
    data = pd.DataFrame({"trial_id": [f"t{n}" for n in range(trials)] * 2, "setting": "lr=0.1", "epoch": 1})
    drawn, panels = example_panels(data, "eigenvalue")
    parts = [part for _, part in panels]
    assert [part.trial_id.unique().tolist() for part in parts] == [[f"t{n}"] for n in range(trials)]
    visible = [axes for axes in drawn.axes if axes.get_visible()]
    assert len(visible) == trials
    assert visible[0].get_ylabel() == "eigenvalue"
    assert {axes.get_title() for axes in visible} == {"lr=0.1"}
