"""HMACs with keys that the module never sees."""

from waybill import _host, _wire
from waybill.values import Body


def hmac(secret: str, message: Body, *, hash: str = "sha256", encoding: str = "hex") -> str:
    """Returns the HMAC of a message. `encoding` is `hex`, `base64` or `base64-url`."""
    return _host.call(_host.secrets.hmac, secret, *_choices(hash, message, encoding))


def verify(
    secret: str, message: Body, hmac: str, *, hash: str = "sha256", encoding: str = "hex"
) -> bool:
    """Returns whether this is the HMAC of a message."""
    return _host.call(_host.secrets.verify, secret, *_choices(hash, message, encoding), hmac)


def _choices(hash: str, message: Body, encoding: str) -> tuple:
    own = _host.secrets
    written = encoding.upper().replace("-", "_")
    return own.Hash[hash.upper()], _wire.write_body(message), own.Encoding[written]
