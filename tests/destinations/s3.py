"""Deliveries to S3 as another program understands it: moto's server, which boto3 looks into.

Usage: s3.py MINILAB. Needs `pip install 'moto[server,s3]' boto3`. Starts the server program and minilab itself, on ports of
their own, and ends them.
"""

import logging
import sys
import tempfile

import boto3
from moto.server import ThreadedMotoServer

from program import Front, Minilab, busy, exam

OPTIONS = {"region": "us-east-1", "access_key_id": "id", "secret_access_key": "s3cret"}
# What buckets are usually told by the environment: here for the one whose table names no credentials.
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_REGION": "us-east-1"}


def main():
    # One line for each request is more than anybody reads.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="s3cret")
    s3.create_bucket(Bucket="bucket")
    denying, hesitating = Front(endpoint, lambda _: 403), Front(endpoint, busy(2))

    def look(key):
        stored = s3.get_object(Bucket="bucket", Key=f"some/prefix/{key}")
        return stored["Body"].read(), stored["ContentType"], stored.get("ContentDisposition")

    destinations = {
        "media": {"url": "s3://bucket/some/prefix", "endpoint": endpoint},
        "absent": {"url": "s3://absent", "endpoint": endpoint, **OPTIONS},
        "denied": {"url": "s3://bucket", "endpoint": denying.url, **OPTIONS},
        "busy": {"url": "s3://bucket", "endpoint": hesitating.url, **OPTIONS},
    }
    with tempfile.TemporaryDirectory() as directory:
        minilab = Minilab(sys.argv[1], directory, destinations, ENVIRONMENT)
        try:
            exam(minilab, look, "s3://bucket/some/prefix", 60)
            minilab.stop()
        finally:
            if minilab.process.poll() is None:
                minilab.kill()
        assert len(denying.asked) <= 2 and len(hesitating.asked) == 4, (denying.asked, hesitating.asked)
        assert b"s3cret" not in minilab.log(), "a secret in the log"
    moto.stop()


if __name__ == "__main__":
    main()
