"""Fills the server that schemathesis tests, so that its calls are about things that are there.

Ids and names that are made up lead to 404 and say nothing of the answers that matter. Three calls
in four get what is there instead, made through the API where it is missing; the fourth stays as
it was made up.
"""

import http.server
import itertools
import json
import os
import pathlib
import threading
import time
import urllib.error
import urllib.request

import schemathesis

BASE = os.environ["WAYBILL_URL"]
TOKEN = os.environ["WAYBILL_TOKEN"]
COMPONENT = pathlib.Path(os.environ["WAYBILL_GUESTS"], "hot_leads.wasm")

# How long a delivery may take to become what is waited for.
PATIENCE = 60

numbers = itertools.count(1)
turns = itertools.count()
made = {}


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes deliveries; answers 500 at /no, and 200 elsewhere."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(500 if self.path == "/no" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Says nothing."""


receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
receiver.daemon_threads = True
threading.Thread(target=receiver.serve_forever, daemon=True).start()
RECEIVER = f"http://127.0.0.1:{receiver.server_port}"


def call(method, path, body=None, content_type="application/json"):
    """One call of the API that must succeed; the `data` of its answer."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}
    request = urllib.request.Request(BASE + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error


def name():
    return f"made-{next(numbers)}"


def endpoint(path="/ok", **more):
    body = {"name": name(), "url": RECEIVER + path, **more}
    return call("POST", "/api/v1/endpoints", body)


def source(scheme):
    body = {"name": name(), "kind": "webhook", "webhook": {"scheme": scheme}}
    return call("POST", "/api/v1/sources", body)


def clock():
    body = {"name": name(), "kind": "schedule", "schedule": {"cron": "0 2 * * *", "event": "made.never"}}
    return call("POST", "/api/v1/sources", body)


def flow():
    body = {"name": name(), "events": ["made.never"], "endpoints": [endpoint()["name"]]}
    return call("POST", "/api/v1/flows", body)


def token():
    return call("POST", "/api/v1/tokens", {"name": name(), "scopes": ["read-only"]})


def webhook():
    body = {"name": name(), "url": RECEIVER + "/ok", "events": ["made.never"]}
    return call("POST", "/api/v1/webhooks", body)


def event(event_type="invoice.paid"):
    number = str(next(numbers))
    body = {"type": event_type, "resource_id": number, "data": {"id": number, "total": "1.00"}}
    return call("POST", "/api/v1/events", body)


def module():
    found = name()
    component = COMPONENT.read_bytes()
    call("POST", f"/api/v1/modules/{found}?activate=true", component, "application/wasm")
    return found


def failed(kind, schedule, wanted):
    """What a delivery to an endpoint that refuses everything comes to: one of `kind`, as wanted."""
    event_type = f"made.kind{next(numbers)}"
    refusing = endpoint("/no", events=[event_type], retry={"schedule": schedule})["id"]
    event(event_type)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for found in call("GET", f"/api/v1/{kind}?endpoint={refusing}"):
            if wanted(found):
                return found["id"]
        time.sleep(0.05)
    raise RuntimeError(f"no such thing in {kind} after {PATIENCE} s")


def delivery():
    return failed("deliveries", ["1h"], lambda found: found["status"] == "pending")


def dead_letter():
    return failed("dead-letters", [], lambda _: True)


# What stands in the braces of a path, by the longest of these that the path begins with.
THINGS = {
    "/api/v1/endpoints/{id}": {"id": lambda: endpoint()["id"]},
    "/api/v1/sources/{id}": {"id": lambda: source("perfexapi")["id"]},
    "/api/v1/sources/{id}/run": {"id": lambda: clock()["id"]},
    "/api/v1/flows/{id}": {"id": lambda: flow()["id"]},
    "/api/v1/tokens/{id}": {"id": lambda: token()["id"]},
    "/api/v1/webhooks/{id}": {"id": lambda: webhook()["id"]},
    "/api/v1/events/{id}": {"id": lambda: event()["id"]},
    "/api/v1/events/samples/{type}": {"type": lambda: "invoice.paid"},
    "/api/v1/event-types/{name}": {"name": lambda: "invoice.paid"},
    "/api/v1/deliveries/{id}": {"id": delivery},
    "/api/v1/dead-letters/{id}": {"id": dead_letter},
    "/api/v1/modules/{name}": {"name": module},
    "/api/v1/modules/{name}/versions/{version}": {"name": module, "version": lambda: 1},
    "/api/v1/{resource}": {"resource": lambda: "invoices"},
    "/api/v1/{resource}/{id}": {
        "resource": lambda: "invoices",
        "id": lambda: call("GET", f"/api/v1/events/{event()['id']}")["resource_id"],
    },
    "/in/{source}": {"source": lambda: source("none")["name"]},
}


def once(key, make):
    """What was made under this key, made now where it is missing."""
    if key not in made:
        made[key] = make()
    return made[key]


def thing(path, parameter):
    """What is there for a parameter of a path; none where nothing is known of it."""
    known = max((known for known in THINGS if path.startswith(known)), key=len, default=None)
    make = THINGS.get(known, {}).get(parameter)
    return once((known, parameter), make) if make else None


def wrong_on_purpose(case, part):
    """Whether a part of a case does not fit the description, to see whether it is refused."""
    return any(
        location.name == part and info.mode.is_negative
        for location, info in case.meta.components.items()
    )


def fill_body(case):
    """Puts what is there in a body that would be refused without it."""
    path = case.operation.path
    if wrong_on_purpose(case, "BODY"):
        return
    if path == "/in/{source}" and isinstance(case.body, list):
        for element in case.body:
            element["event"] = "invoice.paid"
    if not isinstance(case.body, dict):
        return
    if path == "/in/{source}":
        case.body["event"] = "invoice.paid"
    elif path == "/api/v1/sources/{id}/test":
        case.body["body"] = {"event": "invoice.paid", "payload": {"id": 1}}
    elif path == "/api/v1/endpoints/{id}" and case.method == "PUT":
        case.body = {"name": name(), "url": RECEIVER + "/ok"}
    elif path == "/api/v1/flows/{id}" and case.method == "PUT":
        known = once(("flow", "endpoint"), lambda: endpoint()["name"])
        case.body = {"name": name(), "events": ["made.never"], "endpoints": [known]}
    elif path.startswith("/oauth/"):
        client = once(("oauth", "client"), token)
        case.body.update(client_id=client["id"], client_secret=client["token"])
        if path == "/oauth/token":
            case.body["grant_type"] = "client_credentials"
            case.body.pop("scope", None)


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.operation.path.startswith("/oauth/"):
        # There a caller names itself in the form, or in this header, and not both.
        case.headers.pop("Authorization", None)
    if case.meta is None or case.meta.phase.name.name == "STATEFUL" or next(turns) % 4 == 0:
        return
    fill_body(case)
    if wrong_on_purpose(case, "PATH"):
        return
    for parameter in case.path_parameters or {}:
        found = thing(case.operation.path, parameter)
        if found is not None:
            case.path_parameters[parameter] = found


@schemathesis.hook
def after_call(context, case, response):
    """Forgets what is no more what it was."""
    path = case.operation.path
    gone = case.method == "DELETE" or path.endswith(("/replay", "/cancel"))
    if gone and response.status_code < 300:
        for key in [key for key in made if path.startswith(key[0])]:
            del made[key]


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Who tries many unknown tokens is slowed with 429, instead of refused with 401."""
    return not (failure.code == "ST401" and "got `429 " in failure.message)


@schemathesis.serializer("application/wasm")
def wasm(context, value):
    """A component three times in four, and what was made up the fourth."""
    if next(turns) % 4:
        return COMPONENT.read_bytes()
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@schemathesis.deserializer("application/x-ndjson")
def ndjson(context, response):
    """The first line, which is what the description describes; an empty export is not looked at."""
    lines = response.content.splitlines()
    if not lines:
        raise NotImplementedError
    return json.loads(lines[0])
