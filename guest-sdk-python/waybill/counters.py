"""The module's own counters."""

from waybill import _host


def add(name: str, by: int = 1) -> None:
    """Adds to a counter that the manifest lists."""
    _host.counters.add(name, by)
