"""The configuration that the flow gives the module."""

import json
from typing import Any, Optional

from waybill import _host
from waybill.values import permanent


def get(key: str) -> Optional[str]:
    """Returns the value of a key as text."""
    return _host.config.get(key)


def all() -> dict[str, Any]:
    """Returns the whole configuration. With a schema in the manifest it fits that schema."""
    return json.loads(_host.config.all())


def require(key: str) -> Any:
    """Returns the value of a key. Raises the failure `config_missing` if it is not set."""
    value = all().get(key)
    if value is None:
        raise permanent("config_missing", f"the configuration has no `{key}`")
    return value
