"""Requests to the hosts that the manifest names."""

from dataclasses import dataclass, field
from typing import Optional

from waybill import _host, _wire
from waybill.values import Body


@dataclass
class Response:
    """The answer to a request, whatever its status."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Body = field(default_factory=lambda: Body("text", ""))


def send(
    method: str,
    url: str,
    *,
    headers: Optional[dict[str, str]] = None,
    secrets: Optional[list[str]] = None,
    body: Optional[Body] = None,
) -> Response:
    """Sends a request. `secrets` names the secrets that the host inserts."""
    wire = None if body is None else _wire.write_body(body)
    pairs = _wire.write_pairs(headers or {})
    request = _wire.request_type()(method, url, pairs, secrets or [], wire)
    answer = _host.call(_host.http.send, request)
    return Response(answer.status, answer.headers, _wire.read_body(answer.body))
