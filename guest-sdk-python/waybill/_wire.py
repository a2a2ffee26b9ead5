"""Converts values between the SDK and the component's bindings."""

import json
from typing import Any, Optional

from waybill._host import http_types, types
from waybill.values import Body, Changes, Draft, Event


def read_body(body: Any) -> Body:
    kinds = {types.Body_Json: "json", types.Body_Text: "text", types.Body_Bytes: "bytes"}
    return Body(kinds[type(body)], body.value)


def write_body(body: Body) -> Any:
    kinds = {"json": types.Body_Json, "text": types.Body_Text, "bytes": types.Body_Bytes}
    return kinds[body.kind](body.value)


def read_changes(changes: Any) -> Optional[Changes]:
    if changes is None:
        return None
    return Changes(changes.changed, json.loads(changes.previous))


def write_changes(changes: Optional[Changes]) -> Any:
    if changes is None:
        return None
    return types.Changes(changes.changed, json.dumps(changes.previous))


def read_event(event: Any) -> Event:
    return Event(
        id=event.id,
        source=event.source,
        kind=event.kind,
        resource=event.resource,
        subject=event.subject,
        time=event.time,
        attempt=event.attempt,
        changes=read_changes(event.changes),
        attributes=dict(event.attributes),
        body=read_body(event.data),
    )


def write_pairs(pairs: dict[str, str]) -> list[tuple[str, str]]:
    return list(pairs.items())


def write_draft(draft: Draft) -> Any:
    body = write_body(Body.json(draft.data))
    return types.Draft(draft.kind, draft.subject, write_pairs(draft.attributes), body)


def request_type() -> Any:
    return http_types.Request
