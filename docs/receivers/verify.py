"""Verifies Waybill deliveries in Python (3.8 or later), using only its standard library.

As a library:  from verify import verify
As a program:  python3 verify.py SECRET HEADERS_FILE BODY_FILE   exits with 0 if the signature fits, otherwise with 1.
"""

import base64
import hashlib
import hmac
import sys
import time

TOLERANCE = 300
"""Largest difference between a delivery's timestamp and now, in seconds."""


class Unverified(Exception):
    """The delivery must not be trusted; the message says why."""


def key(secret):
    """Returns the key of a secret: the base64-decoded part after `whsec_`, or the bytes of any other secret."""
    prefix = "whsec_"
    if secret.startswith(prefix):
        return base64.b64decode(secret[len(prefix) :], validate=True)
    return secret.encode()


def verify(secret, headers, body, now=None):
    """Raises Unverified unless the delivery is signed with the secret and its timestamp is recent.

    secret is the endpoint's secret, headers a mapping with names in lower case, body the raw bytes before any JSON
    parser, and now Unix seconds. Returns the delivery's id; answer an id that you have already handled with 200.
    """
    try:
        delivery, timestamp, signatures = (
            headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")
        )
    except KeyError as missing:
        raise Unverified(f"the header {missing} is missing") from None
    now = time.time() if now is None else now
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > TOLERANCE:
        raise Unverified("the timestamp is too old, in the future, or not a number")
    content = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(key(secret), content, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    # While a secret is rotated, the list holds two signatures. One match is enough.
    fits = [hmac.compare_digest(expected, entry.encode()) for entry in signatures.split(" ")]
    if not any(fits):
        raise Unverified("no signature fits")
    return delivery


def parse_headers(text):
    """Reads `Name: value` lines."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


def main(arguments):
    """Runs the program; returns its exit status."""
    if len(arguments) != 3:
        print("usage: python3 verify.py SECRET HEADERS_FILE BODY_FILE", file=sys.stderr)
        return 1
    secret, headers_file, body_file = arguments
    with open(headers_file, encoding="utf-8") as file:
        headers = parse_headers(file.read())
    with open(body_file, "rb") as file:
        body = file.read()
    try:
        print(verify(secret, headers, body), "fits")
    except Unverified as why:
        print(why, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
