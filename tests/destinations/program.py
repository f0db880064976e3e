"""What the tests of destinations share: the server, the jobs that are sent to it, and what must be true of them afterwards.

A test brings a store that another program runs, and a way to look into it; see `s3.py`, `gs.py` and `az.py`.
"""

import http.client
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

KILLS = 5
PICTURE = open(os.path.join(os.path.dirname(__file__), "../data/leaf.jpg"), "rb").read()


class Minilab:
    """A running server, to be killed and started again on the same directory."""

    def __init__(self, program, directory, destinations, environment={}):
        with open(f"{directory}/minilab.toml", "w") as file:
            for name, options in destinations.items():
                file.write(f"[destinations.{name}]\n")
                file.writelines(f"{option} = {json.dumps(value)}\n" for option, value in options.items())
        self.command = [program, "serve", "--listen", "127.0.0.1:0", "--data-dir", f"{directory}/data"]
        self.command += ["--config", f"{directory}/minilab.toml"]
        self.environment = dict(os.environ, **environment)
        self.path = f"{directory}/log"
        self.start()

    def start(self):
        with open(self.path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, env=self.environment)
        line = self.process.stdout.readline().decode()
        self.url = line.split("minilab listening on ")[1].strip()
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def log(self):
        with open(self.path, "rb") as log:
            return log.read()

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


class Front(http.server.ThreadingHTTPServer):
    """Stands before a store: every request is judged, kept and passed on. `judge(handler)` gives a status to refuse with, or nothing; `adds`
    are headers that the store's answers lack.
    """

    daemon_threads = True

    def __init__(self, behind, judge, adds={}):
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind, self.judge, self.adds, self.asked = behind, judge, adds, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # Whoever asked was killed meanwhile.

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, dict(self.headers.items())))
        refused = self.server.judge(self)
        if refused:
            return self.answer(refused, {}, b"<Error><Code>No</Code><Message>secret name of a machine</Message></Error>")
        # Byte for byte as it came: what is signed must stay so.
        behind = http.client.HTTPConnection(self.server.behind.removeprefix("http://"), timeout=30)
        behind.putrequest("PUT", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            behind.putheader(name, value)
        behind.endheaders(body)
        answer = behind.getresponse()
        self.answer(answer.status, {**self.server.adds, **dict(answer.getheaders())}, answer.read())
        behind.close()

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "keep-alive"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def busy(first):
    """Refuses the first so many requests as a store does that has too much to do."""
    left = [503] * first
    return lambda handler: left.pop() if left else None


def outputs(name, key):
    thumb = [{"op": "resize", "width": 200}]
    return {
        "outputs": [
            {"name": "a", "format": "webp", "operations": thumb, "filename": "leaf.webp", "destination": {"name": name, "key": f"{key}/a.webp"}},
            {"name": "b", "format": "bmp", "operations": thumb, "destination": {"name": name, "key": f"{key}/b.bmp"}},
        ]
    }


def check(minilab, look, location, id, key):
    """The job has succeeded, and what is in the store is what it made. `look(key)` tells bytes, media type and disposition, as far as kept."""
    job = minilab.ended(id)
    assert job["status"] == "succeeded", job
    for output, name, disposition in zip(job["outputs"], ("a.webp", "b.bmp"), ('inline; filename="leaf.webp"', None)):
        assert output["location"] == f"{location}/{key}/{name}", output
        stored, media_type, shown = look(f"{key}/{name}")
        assert stored == minilab.call("GET", output["url"])[1], output
        assert media_type == f"image/{output['format']}", media_type
        assert shown in (disposition, "as sent"), shown
    return job


def exam(minilab, look, location, jobs):
    """What holds for every kind of store: `media` takes everything, `absent` is not there, `denied` lets nobody write."""
    capabilities = json.loads(minilab.call("GET", "/v1/capabilities")[1])
    assert capabilities["destinations"] == ["absent", "busy", "denied", "media"], capabilities["destinations"]

    began = time.monotonic()
    ids = [(minilab.submit(outputs("media", f"job/{number}")), f"job/{number}") for number in range(jobs)]
    for id, _ in ids:
        minilab.ended(id)
    seconds = time.monotonic() - began
    store = [check(minilab, look, location, id, key)["timings_ms"]["store"] for id, key in ids]
    print(f"{jobs} jobs with two deliveries each: {jobs / seconds:.0f} jobs/s, storing and delivering {sorted(store)[jobs // 2]} ms (median)")

    for name, words in (("absent", "bucket does not exist"), ("denied", "does not let this server write")):
        job = minilab.ended(minilab.submit(outputs(name, "x")))
        error = job["error"]
        assert (error["code"], error["retryable"], job["attempt"]) == ("destination_error", False, 1), job
        assert words in error["detail"] and "127.0.0.1" not in error["detail"] and "secret" not in error["detail"], error
    print("a bucket that is absent, and one that denies: failed at once, with nothing of what they said")

    job = minilab.ended(minilab.submit(outputs("busy", "busy")))
    assert (job["status"], job["attempt"]) == ("succeeded", 1), job
    print("a bucket that is busy: asked again within the attempt")

    for _ in range(2):
        check(minilab, look, location, minilab.submit(outputs("media", "again")), "again")

    began = time.monotonic()
    kept = []
    for number in range(KILLS):
        kept += [(minilab.submit(outputs("media", f"kill/{number}/{each}")), f"kill/{number}/{each}") for each in range(6)]
        time.sleep(0.02 * number)
        minilab.kill()
        minilab.start()
    for id, key in kept:
        check(minilab, look, location, id, key)
    print(f"{KILLS} kills around deliveries: {len(kept)} jobs, all delivered, {time.monotonic() - began:.1f} s")
