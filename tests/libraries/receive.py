"""A receiver that verifies deliveries with a library: 204 where one fits, else 400 and why.
Prints its address when it listens.

python receive.py standard SECRET, with the python of requirements.txt
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook

_, secret = sys.argv[1:]
webhook = Webhook(secret if secret.startswith("whsec_") else secret.encode())


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            webhook.verify(body, headers)
            status, said = 204, b""
        except Exception as error:
            status, said = 400, str(error).encode()
        self.send_response(status)
        if said:
            self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        """Says nothing."""


server = HTTPServer(("127.0.0.1", 0), Receiver)
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
