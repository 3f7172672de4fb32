"""Shipping once something has been computed without a shipper beside it."""

from collections.abc import Callable

from orchestrator.store.storage import Storage
from orchestrator.tracking.address import database_file
from orchestrator.tracking.links import ship_command, where_to_look
from orchestrator.tracking.shipper import ship


def ship_afterwards(storage: Storage, sweep: str, tracking_uri: str, say: Callable[[str], None]) -> None:
    """Ships a sweep and says where to look, or what ships it later: what was computed is stored either way."""
    try:
        shipped = ship(storage, sweep, tracking_uri, False, say).complete
    except ModuleNotFoundError as error:
        say(f"{error}; then: {ship_command(storage.root, sweep, tracking_uri)}")
        return
    if shipped and (link := where_to_look(tracking_uri, sweep)):
        say(f"curves: {'make ui, then ' if database_file(tracking_uri) else ''}{link}")
