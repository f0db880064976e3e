"""Deliveries to S3 as another program understands it: moto's server, which boto3 looks into.

Usage: s3.py MINILAB. Needs `pip install 'moto[server,s3]' boto3`. Starts the server program and minilab itself, on ports of
their own, and ends them.
"""

import http.server
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

JOBS = 60
KILLS = 5
PICTURE = open(os.path.join(os.path.dirname(__file__), "../data/leaf.jpg"), "rb").read()


class Odd(http.server.BaseHTTPRequestHandler):
    """Two buckets: one lets nobody write, the other is too busy at first."""

    asked = {"denied": 0, "busy": 0}

    def do_PUT(self):
        bucket = self.path.split("/")[1]
        Odd.asked[bucket] += 1
        self.rfile.read(int(self.headers["content-length"]))
        status = 403 if bucket == "denied" else 503 if Odd.asked[bucket] <= 2 else 200
        body = b"" if status == 200 else b"<Error><Code>No</Code><Message>secret name of a machine</Message></Error>"
        self.send_response(status)
        self.send_header("etag", '"1"')
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Minilab:
    """A running server, to be killed and started again on the same directory."""

    def __init__(self, program, directory):
        self.command = [program, "serve", "--listen", "127.0.0.1:0", "--data-dir", f"{directory}/data"]
        self.command += ["--config", f"{directory}/minilab.toml"]
        # What buckets are usually told by the environment: here for the one whose table names no credentials.
        self.environment = dict(os.environ, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="s3cret", AWS_REGION="us-east-1")
        self.log = open(f"{directory}/log", "ab")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.log, env=self.environment)
        line = self.process.stdout.readline().decode()
        self.url = line.split("minilab listening on ")[1].strip()
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, "the server did not end well"

    def call(self, method, path, body=None, headers={}):
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def submit(self, spec):
        parts = (("job", json.dumps(spec).encode()), ("file", PICTURE))
        body = b"".join(
            b'--x\r\ncontent-disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), name.encode(), part)
            for name, part in parts
        )
        status, answer = self.call("POST", "/v1/jobs", body + b"--x--\r\n", {"content-type": "multipart/form-data; boundary=x"})
        assert status == 202, answer
        return json.loads(answer)["id"]

    def job(self, id, wait=0):
        return json.loads(self.call("GET", f"/v1/jobs/{id}?wait={wait}")[1])

    def ended(self, id):
        while True:
            job = self.job(id, 30)
            if job["finished_at"]:
                return job


def outputs(name, key):
    thumb = [{"op": "resize", "width": 200}]
    return {
        "outputs": [
            {"name": "a", "format": "webp", "operations": thumb, "filename": "leaf.webp", "destination": {"name": name, "key": f"{key}/a.webp"}},
            {"name": "b", "format": "bmp", "operations": thumb, "destination": {"name": name, "key": f"{key}/b.bmp"}},
        ]
    }


def check(minilab, s3, id, key):
    """The job has succeeded, and what is in the bucket is what it made."""
    job = minilab.ended(id)
    assert job["status"] == "succeeded", job
    for output, name in zip(job["outputs"], ("a.webp", "b.bmp")):
        assert output["location"] == f"s3://bucket/some/prefix/{key}/{name}", output
        stored = s3.get_object(Bucket="bucket", Key=f"some/prefix/{key}/{name}")
        assert stored["Body"].read() == minilab.call("GET", output["url"])[1], output
        assert stored["ContentType"] == f"image/{output['format']}", stored
    assert s3.head_object(Bucket="bucket", Key=f"some/prefix/{key}/a.webp")["ContentDisposition"] == 'inline; filename="leaf.webp"'
    return job


def main():
    # One line for each request is more than anybody reads.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="s3cret")
    s3.create_bucket(Bucket="bucket")
    odd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=odd.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/minilab.toml", "w") as file:
            for name, bucket, at in (
                ("media", "bucket/some/prefix", endpoint),
                ("absent", "absent", endpoint),
                ("denied", "denied", f"http://127.0.0.1:{odd.server_port}"),
                ("busy", "busy", f"http://127.0.0.1:{odd.server_port}"),
            ):
                file.write(f'[destinations.{name}]\nurl = "s3://{bucket}"\nendpoint = "{at}"\n')
                if name != "media":
                    file.write('region = "us-east-1"\naccess_key_id = "id"\nsecret_access_key = "s3cret"\n')
        minilab = Minilab(sys.argv[1], directory)
        try:
            run(minilab, s3)
            minilab.stop()
        finally:
            if minilab.process.poll() is None:
                minilab.kill()
        assert b"s3cret" not in open(f"{directory}/log", "rb").read(), "a secret in the log"
    moto.stop()


def run(minilab, s3):
    capabilities = json.loads(minilab.call("GET", "/v1/capabilities")[1])
    assert capabilities["destinations"] == ["absent", "busy", "denied", "media"], capabilities["destinations"]

    began = time.monotonic()
    ids = [(minilab.submit(outputs("media", f"job/{number}")), f"job/{number}") for number in range(JOBS)]
    for id, _ in ids:
        minilab.ended(id)
    seconds = time.monotonic() - began
    store = [check(minilab, s3, id, key)["timings_ms"]["store"] for id, key in ids]
    print(f"{JOBS} jobs with two deliveries each: {JOBS / seconds:.0f} jobs/s, storing and delivering {sorted(store)[JOBS // 2]} ms (median)")

    for name, words in (("absent", "bucket does not exist"), ("denied", "does not let this server write")):
        job = minilab.ended(minilab.submit(outputs(name, "x")))
        error = job["error"]
        assert (error["code"], error["retryable"], job["attempt"]) == ("destination_error", False, 1), job
        assert words in error["detail"] and "127.0.0.1" not in error["detail"] and "secret" not in error["detail"], error
    assert Odd.asked["denied"] <= 2, Odd.asked
    print("a bucket that is absent, and one that denies: failed at once, with nothing of what they said")

    job = minilab.ended(minilab.submit(outputs("busy", "x")))
    assert (job["status"], job["attempt"], Odd.asked["busy"]) == ("succeeded", 1, 4), (job, Odd.asked)
    print("a bucket that is busy: asked again within the attempt")

    id = minilab.submit(outputs("media", "again"))
    check(minilab, s3, id, "again")
    id = minilab.submit(outputs("media", "again"))
    check(minilab, s3, id, "again")

    began = time.monotonic()
    kept = []
    for number in range(KILLS):
        kept += [(minilab.submit(outputs("media", f"kill/{number}/{each}")), f"kill/{number}/{each}") for each in range(6)]
        time.sleep(0.02 * number)
        minilab.kill()
        minilab.start()
    for id, key in kept:
        check(minilab, s3, id, key)
    print(f"{KILLS} kills around deliveries: {len(kept)} jobs, all delivered, {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
