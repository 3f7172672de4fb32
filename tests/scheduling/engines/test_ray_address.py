"""The check that a cluster is reachable, which is faster than Ray's."""

import socket

import pytest

from orchestrator.scheduling.engines.ray import check_reachable


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_listening_address_is_reachable(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = form.format(listening.getsockname()[1])
        assert check_reachable(address) == f"cluster at {address} answers"


def test_an_address_without_a_server_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    said = rf"nothing answers at Ray address '127.0.0.1:{port}' \(Connection refused\); .* or unset it"
    with pytest.raises(ConnectionError, match=said):
        check_reachable(f"127.0.0.1:{port}")


def test_the_cluster_of_this_machine_is_not_checked() -> None:
    assert check_reachable("auto") == "RAY_ADDRESS auto: resolved when a run starts"


@pytest.mark.parametrize("address", ["host", "host:port", "http://", "10.0.0.5:99999"])
def test_a_malformed_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT, for example"):
        check_reachable(address)
