"""A local S3 server and buckets in it."""

import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import boto3

ACCESS_KEY, SECRET = "AKIAEXAMPLEEXAMPLE", "a-secret-that-appears-nowhere"


# S3 performs a conditional PUT atomically. moto needs two steps, so two concurrent writers could both succeed. The lock
# makes the PUT atomic. The script takes host and port as arguments, and prints the port.
SERVER = """
import sys
import threading
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

put, lock = S3Response._key_response_put, threading.Lock()

def locked_put(*args, **kwargs):
    with lock:
        return put(*args, **kwargs)

S3Response._key_response_put = locked_put
server = ThreadedMotoServer(sys.argv[1], int(sys.argv[2]), verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""


@contextmanager
def s3_server() -> Iterator[str]:
    """Runs a moto server in another process. Yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, "127.0.0.1", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        until = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def environment(address: str) -> dict[str, str]:
    """The environment variables of a process that uses the server."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def new_bucket(address: str) -> str:
    """Creates a bucket. Returns its name."""
    name = f"sweeps-{secrets.token_hex(6)}"
    client(address).create_bucket(Bucket=name)
    return name


def client(address: str) -> "boto3.client":
    """A client that accesses buckets independently of the code under test."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )


def contents(address: str, bucket: str) -> dict[str, bytes]:
    """The content of all objects of a bucket, by key."""
    s3 = client(address)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
