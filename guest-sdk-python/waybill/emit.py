"""Events for other flows."""

from typing import Any, Optional

from waybill import _host, _wire
from waybill.values import Body, Changes


def event(
    kind: str,
    data: Any,
    *,
    resource: Optional[str] = None,
    subject: Optional[str] = None,
    time: Optional[str] = None,
    key: Optional[str] = None,
    changes: Optional[Changes] = None,
    attributes: Optional[dict[str, str]] = None,
) -> str:
    """Creates an event and returns its id."""
    own = _wire.write_changes(changes)
    pairs = _wire.write_pairs(attributes or {})
    body = _wire.write_body(Body.json(data))
    fact = _host.types.Fact(kind, resource, subject, time, key, own, pairs, body)
    return _host.call(_host.emit.event, fact)
