"""Look-ups in the records that Waybill stores for its sources."""

import json
from dataclasses import dataclass
from typing import Any, Optional

from waybill import _host


@dataclass
class Record:
    """The latest known state of a record."""

    id: str
    updated_at: str
    data: dict[str, Any]


def _read(found: Any) -> Record:
    return Record(found.id, found.updated_at, json.loads(found.data))


def get(source: str, resource: str, id: str) -> Optional[Record]:
    """Returns the record with an id."""
    found = _host.call(_host.records.get, source, resource, id)
    return None if found is None else _read(found)


def find(source: str, resource: str, field: str, value: str, limit: int = 1) -> list[Record]:
    """Returns records whose indexed field has the value, the latest change first."""
    found = _host.call(_host.records.find, source, resource, field, value, limit)
    return [_read(one) for one in found]
