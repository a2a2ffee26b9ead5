"""What the host's functions do in native tests. Every capability is granted."""

import hashlib
import hmac as _hmac
import json
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any, Optional


class Err(Exception):
    """As componentize-py has it."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


@dataclass
class _Value:
    value: Any


class BodyJson(_Value):
    pass


class BodyText(_Value):
    pass


class BodyBytes(_Value):
    pass


@dataclass
class Reason:
    code: str
    message: str
    pointer: Optional[str]


@dataclass
class Retry:
    reason: Reason
    after_seconds: Optional[int]


class FailureRetryable(_Value):
    pass


class FailurePermanent(_Value):
    pass


def _record(*names: str) -> type:
    def make(self: Any, *values: Any) -> None:
        self.__dict__.update(zip(names, values, strict=True))

    return type("Record", (SimpleNamespace,), {"__init__": make})


types = SimpleNamespace(
    Body_Json=BodyJson,
    Body_Text=BodyText,
    Body_Bytes=BodyBytes,
    Reason=Reason,
    Retry=Retry,
    Failure_Retryable=FailureRetryable,
    Failure_Permanent=FailurePermanent,
    Changes=_record("changed", "previous"),
    Draft=_record("kind", "subject", "attributes", "data"),
    Fact=_record(
        "kind", "resource", "subject", "time", "key", "changes", "attributes", "data"
    ),
)
http_types = SimpleNamespace(Request=_record("method", "url", "headers", "secrets", "body"))


class Host:
    """The contents of the stand-in, and what the module did."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.log: list[Any] = []
        self.state: dict[str, Any] = {}
        self.expiring: dict[str, int] = {}
        self.records: list[Any] = []
        self.answer: Any = None
        self.secrets: dict[str, str] = {}
        self.events: list[Any] = []
        self.cancelled: list[str] = []
        self.counters: dict[str, int] = {}


current = Host()


def use(host: Host) -> None:
    global current
    current = host


def _fail(code: str, message: str) -> Err:
    return Err(FailurePermanent(Reason(code, message, None)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _config_get(key: str) -> Optional[str]:
    value = current.config.get(key)
    return None if value is None else _text(value)


config = SimpleNamespace(get=_config_get, all=lambda: json.dumps(current.config))


class Level(Enum):
    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


@dataclass
class LogLine:
    level: str
    message: str
    fields: dict[str, str]


def _write(level: Level, message: str, fields: list[tuple[str, str]]) -> None:
    current.log.append(LogLine(level.name.lower(), message, dict(fields)))


log = SimpleNamespace(Level=Level, write=_write)


def _state_text(key: str) -> Optional[str]:
    if key not in current.state:
        return None
    return json.dumps(current.state[key], ensure_ascii=False, separators=(",", ":"))


def _state_set(key: str, value: str) -> None:
    current.state[key] = json.loads(value)
    current.expiring.pop(key, None)


def _state_swap(key: str, expected: Optional[str], value: str) -> bool:
    if _state_text(key) != expected:
        return False
    _state_set(key, value)
    return True


def _state_increment(key: str, by: float) -> float:
    total = current.state.get(key, 0) + by
    if not float(total).is_integer() or abs(total) > 2**53:
        raise _fail("invalid", f"`{key}` and what is added are not whole numbers")
    current.state[key] = int(total)
    return float(total)


def _state_expire(key: str, seconds: int) -> bool:
    if key not in current.state:
        return False
    current.expiring[key] = seconds
    return True


state = SimpleNamespace(
    get=_state_text,
    set=_state_set,
    swap=_state_swap,
    increment=_state_increment,
    expire=_state_expire,
    remove=lambda key: current.state.pop(key, None),
)


def _find(source: str, resource: str) -> list[Any]:
    return [one for one in current.records if (one["source"], one["resource"]) == (source, resource)]


def _found(record: dict[str, Any]) -> Any:
    data = json.dumps(record["data"])
    return SimpleNamespace(id=record["id"], updated_at="2026-05-03T12:00:00.000Z", data=data)


def _records_get(source: str, resource: str, id: str) -> Any:
    return next((_found(one) for one in _find(source, resource) if one["id"] == id), None)


def _records_find(source: str, resource: str, field: str, value: str, limit: int) -> list[Any]:
    found = [one for one in _find(source, resource) if _text(one["data"].get(field)) == value]
    return [_found(one) for one in found[:limit]]


records = SimpleNamespace(get=_records_get, find=_records_find)


def _send(request: Any) -> Any:
    if current.answer is None:
        reason = Reason("unreachable", "the stand-in has no `answer`", None)
        raise Err(FailureRetryable(Retry(reason, None)))
    answer = current.answer(request)
    kinds = {"json": BodyJson, "text": BodyText, "bytes": BodyBytes}
    body = kinds[answer.body.kind](answer.body.value)
    return SimpleNamespace(status=answer.status, headers=answer.headers, body=body)


http = SimpleNamespace(send=_send)

Hash = Enum("Hash", ["SHA1", "SHA256", "SHA512"])
Encoding = Enum("Encoding", ["HEX", "BASE64", "BASE64_URL"])


def _hmac_of(secret: str, hash: Any, message: Any, encoding: Any) -> str:
    key = current.secrets.get(secret)
    if key is None:
        raise _fail("unknown_secret", f"there is no secret `{secret}`")
    value = message.value if isinstance(message.value, bytes) else message.value.encode()
    made = _hmac.new(key.encode(), value, getattr(hashlib, hash.name.lower()))
    if encoding is Encoding.HEX:
        return made.hexdigest()
    if encoding is Encoding.BASE64:
        return b64encode(made.digest()).decode()
    return urlsafe_b64encode(made.digest()).decode().rstrip("=")


def _verify(secret: str, hash: Any, message: Any, encoding: Any, hmac: str) -> bool:
    return _hmac.compare_digest(_hmac_of(secret, hash, message, encoding), hmac)


secrets = SimpleNamespace(Hash=Hash, Encoding=Encoding, hmac=_hmac_of, verify=_verify)


def _event(fact: Any) -> str:
    current.events.append(fact)
    return f"evt_test_{len(current.events)}"


emit = SimpleNamespace(event=_event)
deliveries = SimpleNamespace(cancel=lambda key: current.cancelled.append(key))


def _add(name: str, by: int) -> None:
    current.counters[name] = current.counters.get(name, 0) + by


counters = SimpleNamespace(add=_add)
