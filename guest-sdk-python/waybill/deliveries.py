"""Waiting deliveries of the flow."""

from waybill import _host


def cancel(key: str) -> None:
    """Cancels the waiting deliveries with this cancel key."""
    _host.call(_host.deliveries.cancel, key)
