import subprocess
import sys

import pytest

from orchestrator.tracking.client import reason, require_mlflow


def loaded_after(statement: str) -> str:
    code = f"import sys; {statement}; print(sorted({{'mlflow', 'torch', 'ray', 'pandas'}} & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_imports_no_mlflow() -> None:
    statement = "from orchestrator.tracking import background, policy, shipper, sync"
    assert loaded_after(f"{statement}; from orchestrator.tracking.runs import changes, sweep_run, sweep_runs") == "[]"


def test_shipping_imports_no_torch_and_no_ray() -> None:
    found = loaded_after("from orchestrator.tracking.client import connect; connect('http://127.0.0.1:1')")
    assert "mlflow" in found
    assert "torch" not in found
    assert "ray" not in found


def test_without_mlflow_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hessian-dynamics\[sweep\]'"):
        require_mlflow()


def test_a_reason_is_one_short_line_without_credentials() -> None:
    uri = "http://me:geheim@host"
    assert reason(ValueError("first geheim\nsecond"), uri) == "first ***"
    assert reason(ValueError(f"call to {uri}/api failed"), uri) == "call to http://***@host/api failed"
    assert reason(ValueError(), uri) == "ValueError"
    assert len(reason(ValueError("x" * 1000), uri)) == 200
    refused = "Max retries exceeded with url: / (Caused by NewConnectionError('<...>: Failed: [Errno 111] refused'))"
    assert reason(OSError(refused), uri) == "[Errno 111] refused"
    late = (
        "Max retries exceeded (Caused by ReadTimeoutError(\"HTTPPool(host='h', port=1): Read timed out. (timeout=5)\"))"
    )
    assert reason(OSError(late), uri) == "Read timed out. (timeout=5)"
    broken = "Max retries exceeded (Caused by ResponseError('too many 500 error responses'))"
    assert reason(OSError(broken), uri) == "too many 500 error responses"
