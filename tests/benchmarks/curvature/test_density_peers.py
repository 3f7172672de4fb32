"""Every implementation of the spectral density approximates the dense spectrum."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.curvature.density_peers import Build, installed, ours
from benchmarks.curvature.peers import quiet
from benchmarks.curvature.problems import PeerProblem
from estimators import dense_hessian
from tests.estimators.spectrum.spectra import distance


@pytest.mark.parametrize(("name", "build"), [("ours", ours), *installed().items()])
def test_the_density_is_close_to_the_dense_spectrum(name: str, build: Build) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    inputs, targets = torch.randn(40, 6), torch.randint(3, (40,))
    eigenvalues = torch.linalg.eigvalsh(dense_hessian(model.double(), cross_entropy, (inputs.double(), targets)))
    with quiet():
        nodes, masses = build(PeerProblem(model.float(), inputs, targets), 8, 12)(0)
    assert float(masses.sum()) == pytest.approx(1.0)
    assert distance(nodes, masses, eigenvalues) < 0.03 * float(eigenvalues[-1] - eigenvalues[0]), name
