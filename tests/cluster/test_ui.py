"""MLflow's pages of the sweep in a real browser."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.tracking.runs.chart_view import CURVES_VIEW, SPECTRA_VIEW
from tests.cluster.browser import CHROMIUM, Page, browsing
from tests.cluster.cluster import Cluster
from tests.cluster.containers import Container
from tests.cluster.observed import EPOCHS, known, say, sweep_file

pytestmark = pytest.mark.cluster

BASE = "http://localhost:5000"
_ASSISTANT = "[data-component-id='mlflow.assistant.chat_panel.close']"
_CARD = """(card = (() => {
    const titled = e => !e.children.length && e.textContent === 'hessian/lambda_max';
    let place = [...document.querySelectorAll('*')].find(titled);
    while (place && !place.querySelector('.js-plotly-plot')) place = place.parentElement;
    return place;
})())"""
"""The card of the lambda_max chart as `card`; null until it exists."""
_IMAGES = """[...document.querySelectorAll('img')].filter(
    image => image.src.includes('images%2Fspectra') && image.naturalWidth)"""
"""The images of spectra that are shown."""
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@needs_browser
def test_the_ui_shows_the_sweep(cluster: Cluster, finished: Container, tmp_path: Path) -> None:
    report = cluster.make("report")
    report.start()
    assert report.wait(120) == 0, report.output
    assert "in MLflow" in report.output, report.output
    experiment, sweep_run = known(cluster)
    walk(cluster, tmp_path, lambda page, shots: visit(page, f"{BASE}/#/experiments/{experiment}", sweep_run, shots))


@needs_browser
def test_the_ui_shows_spectra_with_a_slider(cluster: Cluster, finished: Container, tmp_path: Path) -> None:
    measurement = "{fraction: 0.1, estimators: [{name: spectral_density, every: 1}]}"
    sweep_file(
        cluster.volume("results"), "spectra", epochs="3", measurement=measurement, batch_size="[64]", seed="[0, 1]"
    )
    command = [word if word != "quickstart" else "/mnt/results/spectra.yaml" for word in finished.service.command]
    sweep = cluster.make("sweep", "sweep-spectra", command)
    sweep.start()
    assert sweep.wait(240) == 0, sweep.output
    [path] = re.findall(rf"spectra: http://\S+?(/#/\S+={SPECTRA_VIEW})", sweep.output)
    walk(cluster, tmp_path, lambda page, shots: visit_spectra(page, BASE + path, shots))


def walk(cluster: Cluster, folder: Path, visiting: Callable[[Page, Path], Awaitable[None]]) -> None:
    """Visits pages of the cluster's MLflow. Screenshots go to the folder SCREENSHOTS, if that is set."""
    shots = Path(os.environ.get("SCREENSHOTS") or folder)
    shots.mkdir(parents=True, exist_ok=True)
    [mlflow] = cluster.of("mlflow")

    async def browse() -> None:
        async with browsing(mlflow.namespace, "admin", cluster.secret("mlflow_admin_password")) as page:
            try:
                await visiting(page, shots)
            except Exception:
                await page.shoot(shots / "failure.png")
                raise

    asyncio.run(browse())
    say(f"screenshots: {shots}")


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
    charts = f"{experiment}/runs?compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey={CURVES_VIEW}"
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


async def visit_spectra(page: Page, address: str, shots: Path) -> None:
    await page.open(address, "spectra", "Group by")
    await until(page, f"{_IMAGES}.length == 4", "not one spectrum of each of the four runs is shown")
    first = await page.evaluate(f"{_IMAGES}.map(image => image.src)")
    slider = await page.evaluate(
        "['min', 'max', 'now'].map(name => document.querySelector('[role=slider]').getAttribute(`aria-value${name}`))"
    )
    assert slider == ["0", "3", "0"]
    await page.click(_ASSISTANT)
    await page.evaluate("document.querySelector('[role=slider]').focus()")
    await page.press_right()
    await until(page, f"{_IMAGES}.filter(image => image.src.includes('step%2B1')).length == 4", "the slider is stuck")
    assert not set(first) & set(await page.evaluate(f"{_IMAGES}.map(image => image.src)"))
    await page.shoot(shots / "spectra.png")
