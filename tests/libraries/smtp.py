"""An SMTP server (aiosmtpd) that prints what it takes, read by Python's own e-mail parser: one JSON
object a line. The first line is its address.

    python smtp.py OPTIONS, with the python of requirements.txt

OPTIONS is a JSON object: `tls` (`none`, `starttls`, `tls`), `certificate` and `key` (PEM files),
`user` and `password` (then nobody else may send). A recipient `never@…` is refused for good,
`later@…` the first time only, and a subject with `spam` is refused after DATA.
"""

import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult

options = json.loads(sys.argv[1])
tls = options.get("tls", "none")


class Handler:
    def __init__(self):
        self.asked = set()

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("never@"):
            return "550 5.1.1 there is no such mailbox"
        if address.startswith("later@") and address not in self.asked:
            self.asked.add(address)
            return "451 4.7.1 come again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        if "spam" in (message["subject"] or ""):
            return "554 5.7.1 refused as spam"

        def part(kind):
            found = message.get_body(preferencelist=(kind,))
            return found.get_content() if found else None

        taken = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": [[name.lower(), str(value)] for name, value in message.items()],
            "text": part("plain"),
            "html": part("html"),
            "encrypted": tls == "tls" or session.ssl is not None,
        }
        print(json.dumps(taken), flush=True)
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, given):
    fits = (
        given.login.decode() == options["user"]
        and given.password.decode() == options["password"]
    )
    # Not handled: the server answers with 535 by itself.
    return AuthResult(success=fits, handled=False)


async def main():
    context = None
    if tls != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options["certificate"], options["key"])
    handler = Handler()

    def protocol():
        login = {}
        if "user" in options:
            login = {"authenticator": authenticate, "auth_required": True}
            login["auth_require_tls"] = tls == "starttls"
        upgrade = context if tls == "starttls" else None
        return SMTP(handler, tls_context=upgrade, require_starttls=tls == "starttls", **login)

    loop = asyncio.get_running_loop()
    wrap = context if tls == "tls" else None
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=wrap)
    print(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main())
