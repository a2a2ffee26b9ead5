"""The Waybill SDK for modules in Python.

A module has functions named after its roles: `filter`, `transform` and `route`, any of them.
`waybill module build` compiles them to a component. See docs/modules.md.
"""

from waybill import config, counters, deliveries, emit, http, records, secrets, state
from waybill.values import (
    Body,
    Changes,
    Dispatch,
    Draft,
    Drop,
    Event,
    Failure,
    Keep,
    Verdict,
    drop,
    keep,
    permanent,
    retryable,
)

__all__ = [
    "Body",
    "Changes",
    "Dispatch",
    "Draft",
    "Drop",
    "Event",
    "Failure",
    "Keep",
    "Verdict",
    "config",
    "counters",
    "deliveries",
    "drop",
    "emit",
    "http",
    "keep",
    "permanent",
    "records",
    "retryable",
    "secrets",
    "state",
]
