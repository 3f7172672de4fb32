"""Credentials are removed from texts and code."""

import pytest

from orchestrator.store.provenance.redaction import redacted, redacted_code


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+planted")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anaccesskeyid")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct-horse")
    monkeypatch.setenv("MY_TOKEN", "short")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/.ray/auth_token")
    monkeypatch.setenv("MONKEY_NAME", "monkey-business")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("denied for wJalrXUtnFEMI/K7MDENG+planted!", "denied for ***!"),
        ("key anaccesskeyid, password correct-horse", "key ***, password ***"),
        ("a short path /home/me/.ray/auth_token", "a short path /home/me/.ray/auth_token"),
        ("monkey-business", "monkey-business"),
    ],
)
def test_values_of_secret_variables_are_redacted(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ('+password = "hunter22222"\n', "+password = ***\n"),
        ("+aws_secret_access_key=abcdefghijklmnopqrstu\n", "+aws_secret_access_key=***\n"),
        ("+  api_key: 0123456789abcdef0123\n", "+  api_key: ***\n"),
        ("+client('AKIAIOSFODNN7EXAMPLE')\n", "+client('***')\n"),
        ("+h = 'ghp_0123456789abcdefghij'\n", "+h = '***'\n"),
        ("+-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\n+x\n", "+***\n+x\n"),
        ("+uri = 'https://me:pw@host/x'\n", "+uri = 'https://***@host/x'\n"),
        ("+def token_count(tokens: list[str]) -> int:\n", "+def token_count(tokens: list[str]) -> int:\n"),
        ("+    token = tokens[0]\n", "+    token = tokens[0]\n"),
        ("+lr = 0.05  # secret of success\n", "+lr = 0.05  # secret of success\n"),
    ],
)
def test_credentials_in_code_are_redacted(code: str, shown: str) -> None:
    assert redacted_code(code) == shown
