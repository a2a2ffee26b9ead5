"""Memory between events. Values are any values of JSON."""

import json
from typing import Any

from waybill import _host


def _write(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def get(key: str, default: Any = None) -> Any:
    """Returns the value of a key."""
    held = _host.call(_host.state.get, key)
    return default if held is None else json.loads(held)


def set(key: str, value: Any) -> None:
    """Sets a key for good: an earlier `expire` no longer holds."""
    _host.call(_host.state.set, key, _write(value))


def swap(key: str, expected: Any, value: Any) -> bool:
    """Sets a key only if it has the expected value. `None` expects no value."""
    before = None if expected is None else _write(expected)
    return _host.call(_host.state.swap, key, before, _write(value))


def increment(key: str, by: int = 1) -> int:
    """Adds to a whole number, from 0 if there is none, and returns the sum."""
    return int(_host.call(_host.state.increment, key, float(by)))


def expire(key: str, seconds: int) -> bool:
    """Lets a key expire so many seconds after the capture of the event."""
    return _host.call(_host.state.expire, key, seconds)


def remove(key: str) -> None:
    """Removes a key."""
    _host.call(_host.state.remove, key)
