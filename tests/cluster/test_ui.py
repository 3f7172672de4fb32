"""MLflow's pages of the sweep in a real browser."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from orchestrator.tracking.runs.chart_view import VIEW
from tests.cluster.browser import CHROMIUM, Page, browsing
from tests.cluster.cluster import Cluster
from tests.cluster.containers import Container
from tests.cluster.observed import EPOCHS, known, say

pytestmark = pytest.mark.cluster

_ASSISTANT = "[data-component-id='mlflow.assistant.chat_panel.close']"
_CARD = """(card = (() => {
    const titled = e => !e.children.length && e.textContent === 'hessian/lambda_max';
    let place = [...document.querySelectorAll('*')].find(titled);
    while (place && !place.querySelector('.js-plotly-plot')) place = place.parentElement;
    return place;
})())"""
"""The card of the lambda_max chart as `card`; null until it exists."""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_the_ui_shows_the_sweep(cluster: Cluster, finished: Container, tmp_path: Path) -> None:
    report = cluster.make("report")
    report.start()
    assert report.wait(120) == 0, report.output
    assert "in MLflow" in report.output, report.output
    shots = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    asyncio.run(walk(cluster, shots))
    say(f"screenshots: {shots}")


async def walk(cluster: Cluster, shots: Path) -> None:
    base = "http://localhost:5000"
    [mlflow] = cluster.of("mlflow")
    experiment, sweep_run = known(cluster)
    async with browsing(mlflow.namespace, "admin", cluster.secret("mlflow_admin_password")) as page:
        try:
            await visit(page, f"{base}/#/experiments/{experiment}", sweep_run, shots)
        except Exception:
            await page.shoot(shots / "failure.png")
            raise


async def until(page: Page, expression: str, otherwise: str) -> None:
    deadline = time.monotonic() + 60
    while not await page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.5)


async def visit(page: Page, experiment: str, sweep_run: str, shots: Path) -> None:
    last = f"epoch {EPOCHS - 1}"
    await page.open(f"{experiment}/runs?workflowType=machine_learning", "lr 0.01 b64", "quickstart", "digits (", last)
    await page.click(_ASSISTANT)
    await asyncio.sleep(1)
    await page.shoot(shots / "runs.png")
    trial_run = await page.evaluate(
        "[...document.querySelectorAll('a')].find(link => link.textContent.includes('lr 0.01 b64 s0')).href"
    )

    await page.open("about:blank")
    await page.open(f"{trial_run}/system-metrics", "cpu_percent", "memory_mib")
    await page.shoot(shots / "system.png")

    await page.open("about:blank")
    # Charts are drawn, and columns filled, once they are visible.
    await page.call("Emulation.setDeviceMetricsOverride", width=2200, height=2600, deviceScaleFactor=1, mobile=False)
    await page.open(f"{experiment}/models?workflowType=machine_learning", last, "Ready", "hessian/lambda_max")
    await page.shoot(shots / "models.png")

    await page.open("about:blank")
    charts = f"{experiment}/runs?compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey={VIEW}"
    await page.open(charts, "hessian/lambda_max", "Group by")
    await until(page, f"{_CARD} && card.querySelector('.scatterlayer path')", "no chart of lambda_max was drawn")
    lines = await page.evaluate(f"{_CARD} && card.querySelector('.js-plotly-plot').data.map(line => [...line.x])")
    # Two learning rates and two batch sizes: four means over three seeds, each with a band.
    means = sum(line == list(range(EPOCHS)) for line in lines)
    assert 4 <= means < 12, lines
    await page.click(_ASSISTANT)
    await asyncio.sleep(3)
    await page.shoot(shots / "charts.png")
    place = f"{_CARD} && JSON.parse(JSON.stringify(card.getBoundingClientRect()))"
    await page.shoot(shots / "lambda_max.png", await page.evaluate(place))

    await page.open("about:blank")
    await page.call("Emulation.clearDeviceMetricsOverride")
    await page.open(
        f"{experiment}/runs/{sweep_run}/artifacts/report/report.html", "report/report.html", "mlflow-artifacts:"
    )
    framed = "[...document.querySelectorAll('iframe')].some(f => f.src.startsWith('blob:'))"
    await until(page, framed, "the report is not shown")
    await page.click(_ASSISTANT)
    await asyncio.sleep(3)
    await page.shoot(shots / "report.png")
