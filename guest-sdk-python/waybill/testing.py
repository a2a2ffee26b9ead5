"""The test stand-in: takes the place of the host in `python -m unittest`.

    host = use_host(config={"least": "100.00"})
    verdict = filter(event("invoice.paid", {"total": "99.99"}))
    assert host.log == []

The limits of a server do not apply here. `waybill module run` runs the component itself.
"""

from typing import Any, Optional

from waybill import _native
from waybill._native import Host, LogLine
from waybill.values import Body, Changes, Event

__all__ = ["Host", "LogLine", "event", "use_host"]


def use_host(**contents: Any) -> Host:
    """Replaces the stand-in by a new one with these contents, and returns it."""
    host = Host()
    for name, value in contents.items():
        if not hasattr(host, name):
            raise TypeError(f"the stand-in has no `{name}`")
        setattr(host, name, value)
    _native.use(host)
    return host


def event(
    kind: str,
    data: Any,
    *,
    id: str = "evt_test",
    source: str = "test",
    resource: Optional[str] = None,
    subject: Optional[str] = None,
    time: str = "2026-05-03T12:00:00.000Z",
    attempt: int = 1,
    changes: Optional[Changes] = None,
    attributes: Optional[dict[str, str]] = None,
) -> Event:
    """Returns an event of a type with a payload."""
    body = Body.json(data)
    names = attributes or {}
    return Event(id, source, kind, resource, subject, time, attempt, changes, names, body)
