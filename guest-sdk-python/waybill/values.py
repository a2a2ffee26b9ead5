"""The values that a module gets and returns."""

import json
from dataclasses import dataclass, field
from typing import Any, Optional, Union


class Failure(Exception):
    """A failure of a role or of a call to the host. Uncaught, it is the answer of the role.

    A permanent one makes the event a dead letter; after a retryable one it is planned again.
    """

    def __init__(
        self,
        code: str,
        message: str,
        pointer: Optional[str] = None,
        *,
        retryable: bool = False,
        after_seconds: Optional[int] = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.pointer = pointer
        self.retryable = retryable
        self.after_seconds = after_seconds


def permanent(code: str, message: str, pointer: Optional[str] = None) -> Failure:
    """Makes a failure that would repeat. `raise` it."""
    return Failure(code, message, pointer)


def retryable(
    code: str,
    message: str,
    pointer: Optional[str] = None,
    after_seconds: Optional[int] = None,
) -> Failure:
    """Makes a failure that may pass. `raise` it."""
    return Failure(code, message, pointer, retryable=True, after_seconds=after_seconds)


@dataclass
class Body:
    """What an event, a request or an answer carries: JSON text, other text, or bytes."""

    kind: str
    value: Union[str, bytes]

    @staticmethod
    def json(value: Any) -> "Body":
        """Returns a body that holds a value as JSON."""
        return Body("json", json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def parse(self) -> Any:
        """Returns the value. Raises the failure `bad_payload` if the body is not JSON."""
        if self.kind != "json":
            raise permanent("bad_payload", f"the payload is {self.kind}, not JSON")
        return json.loads(self.value)


@dataclass
class Changes:
    """What an update changed: the names of the fields, and their old values where known."""

    changed: list[str]
    previous: dict[str, Any]


@dataclass
class Event:
    """A captured event."""

    id: str
    source: str
    kind: str
    resource: Optional[str]
    subject: Optional[str]
    time: str
    attempt: int
    changes: Optional[Changes]
    attributes: dict[str, str]
    body: Body

    def data(self) -> Any:
        """Returns the payload."""
        return self.body.parse()


@dataclass
class Keep:
    """The event goes on."""


@dataclass
class Drop:
    """The event ends here."""

    reason: str


Verdict = Union[Keep, Drop]
keep = Keep()


def drop(reason: str) -> Drop:
    """Ends the event here. The trace shows the reason."""
    return Drop(reason)


@dataclass
class Draft:
    """An event in the place of the one that the module was given. `data` is any value of JSON."""

    data: Any
    kind: Optional[str] = None
    subject: Optional[str] = None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass
class Dispatch:
    """A delivery to an endpoint of the flow. `data` is a payload for this delivery only."""

    destination: str
    operation: Optional[str] = None
    dedupe_key: Optional[str] = None
    ordering_key: Optional[str] = None
    cancel_key: Optional[str] = None
    delay_seconds: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    data: Any = None
