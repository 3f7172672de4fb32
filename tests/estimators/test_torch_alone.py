"""The estimators work without any package but torch and what torch itself imports."""

import subprocess
import sys

_CODE = """
import importlib, pkgutil, sys
for name in "numpy scipy pandas pydantic yaml torchvision sklearn rich typer ray mlflow".split():
    sys.modules[name] = None  # importing it raises an error
import torch
import estimators
for module in pkgutil.walk_packages(estimators.__path__, "estimators."):
    importlib.import_module(module.name)

inputs, targets = torch.eye(3), torch.zeros(3, 1)
model = torch.nn.Linear(3, 1, bias=False)
hessian = estimators.HessianOperator(model, torch.nn.functional.mse_loss, [(inputs, targets)])
top = estimators.top_eigenvalues(hessian, k=1)
assert abs(float(top.values[0]) - 2 / 3) < 1e-6  # the Hessian is 2 / 3 times the identity
"""


def test_all_modules_are_imported_and_an_eigenvalue_is_computed_without_other_packages() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
