"""Signs a webhook with a library and posts it to a source, then another body under the same
signature. Prints the two statuses.

python send.py LIBRARY SECRET URL BODY, with the python of requirements.txt
"""

import sys
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timezone

from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook


def standard(secret, body):
    webhook = Webhook(secret if secret.startswith("whsec_") else secret.encode())
    message, now = f"msg_{uuid.uuid4()}", datetime.now(tz=timezone.utc)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(message, now, body),
    }


def slack(secret, body):
    now = str(int(time.time()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=now, body=body)
    return {"x-slack-request-timestamp": now, "x-slack-signature": signature}


def post(url, headers, body):
    request = urllib.request.Request(url, body.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


library, secret, url, body = sys.argv[1:]
signed = {"standard": standard, "slack": slack}[library](secret, body)
headers = {"content-type": "application/json", **signed}
print(post(url, headers, body), post(url, headers, body + " "))
