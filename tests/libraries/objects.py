"""A server of Amazon S3 (moto), and the usual client (boto3) that reads its bucket back.

    python objects.py serve PORT
        runs a server that checks every signature, and prints a JSON object with its `url`,
        `access_key`, `secret_key` and `reader` (keys that may do nothing but read), and `session`
        (temporary keys with a `token`). PORT is 0 for a free one. Every start has the same keys
        and an empty bucket
    python objects.py answer STATUS:CODE…
        runs no real server: it gives these answers to requests, and the last one to all further
        ones; then prints the same JSON object
    python objects.py read URL ACCESS_KEY SECRET_KEY
        prints each object of the bucket as a JSON object on a line
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import requests
from botocore.config import Config
from moto.server import ThreadedMotoServer

BUCKET = "crm-events"


def client(service, url, access_key="setup", secret_key="setup", token=None):
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key}
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0})
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        config=config,
        aws_session_token=token,
        **keys,
    )


def policy(*actions):
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def user(iam, name, *actions):
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy(*actions))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return {"access_key": made["AccessKeyId"], "secret_key": made["SecretAccessKey"]}


def session(iam, url):
    """Temporary keys of a role that may put objects."""
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName="putter", AssumeRolePolicyDocument=document)
    iam.put_role_policy(
        RoleName="putter", PolicyName="put", PolicyDocument=policy("s3:PutObject")
    )
    made = client("sts", url).assume_role(RoleArn=role["Role"]["Arn"], RoleSessionName="waybill")
    keys = made["Credentials"]
    return {
        "access_key": keys["AccessKeyId"],
        "secret_key": keys["SecretAccessKey"],
        "token": keys["SessionToken"],
    }


def serve(port):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(port), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    # The keys are made at random. Each start makes the same ones.
    requests.post(f"{url}/moto-api/seed", params={"a": 1}, timeout=10).raise_for_status()
    client("s3", url).create_bucket(Bucket=BUCKET)
    iam = client("iam", url)
    told = {
        "url": url,
        **user(iam, "writer", "s3:*"),
        "reader": user(iam, "reader", "s3:GetObject"),
        "session": session(iam, url),
    }
    # From here on every request needs a signature that fits.
    requests.post(f"{url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
    print(json.dumps(told), flush=True)
    server._thread.join()


def answer(*answers):
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self):
            self.rfile.read(int(self.headers["content-length"]))
            status, code = (left.pop(0) if len(left) > 1 else left[0]).split(":")
            body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
            self.send_response(int(status))
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    keys = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "made-up-secret-key"}
    print(json.dumps({"url": url, **keys}), flush=True)
    server.serve_forever()


def read(url, access_key, secret_key):
    s3 = client("s3", url, access_key, secret_key)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    for key in (item["Key"] for page in pages for item in page.get("Contents", [])):
        found = s3.get_object(Bucket=BUCKET, Key=key)
        shown = {
            "key": key,
            "body": found["Body"].read().decode(),
            "content_type": found["ContentType"],
            "encryption": found.get("ServerSideEncryption"),
        }
        print(json.dumps(shown))


{"serve": serve, "answer": answer, "read": read}[sys.argv[1]](*sys.argv[2:])
