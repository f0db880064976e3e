"""Traces of a real server, as OpenTelemetry's own definitions read them: from a submit over the attempts to the webhook.

Usage: otlp.py MINILAB, built with cargo's feature `otlp`. Needs `pip install opentelemetry-proto`. Starts a collector, a webhook receiver and
minilab itself, on ports of their own, and ends them.
"""

import gzip
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

PICTURE = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/path.jpg"), "rb").read()
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, CLIENT, CONSUMER = 2, 3, 5


class Site(http.server.ThreadingHTTPServer):
    """Takes traces at /v1/traces and webhooks anywhere else; the first webhook is refused."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Taking)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.spans, self.resources, self.hooks, self.headers = [], [], [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Taking(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        answer, status = b"", 200
        if self.path == "/v1/traces":
            assert self.headers["content-type"] == "application/x-protobuf", self.headers
            self.server.headers.append(dict(self.headers.items()))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.server.resources.append({one.key: one.value.string_value for one in resource.resource.attributes})
                self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
            answer = ExportTraceServiceResponse().SerializeToString()
        else:
            self.server.hooks.append((self.headers["traceparent"], json.loads(body)))
            status = 503 if len(self.server.hooks) == 1 else 204
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def command(program, directory):
    return [program, "serve", "--listen", "127.0.0.1:0", "--data-dir", directory, "--log", "error", "--allow-private-network", "127.0.0.0/8"]


class Minilab:
    def __init__(self, program, directory, **environment):
        self.process = subprocess.Popen(command(program, directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment})
        self.url = self.process.stdout.readline().decode().split()[-1]

    def call(self, method, path, body=None, headers={}):
        with urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers, method=method), timeout=60) as answer:
            return json.load(answer)

    def ended(self, id):
        while not (job := self.call("GET", f"/v1/jobs/{id}?wait=30"))["finished_at"]:
            pass
        return job

    def stop(self):
        """Ends it in order; what it wrote on standard error, and how long that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        return errors.decode(), time.monotonic() - began


def attributes(span):
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def of_job(site, name, id):
    return sorted((one for one in site.spans if one.name == name and attributes(one).get("job.id") == id), key=lambda one: one.start_time_unix_nano)


def the_trace_goes_on_from_the_submit_to_the_webhook(program, directory):
    site = Site()
    minilab = Minilab(program, directory, OTEL_EXPORTER_OTLP_ENDPOINT=site.url, OTEL_EXPORTER_OTLP_HEADERS="x-tenant=blue",
                      OTEL_EXPORTER_OTLP_COMPRESSION="gzip", OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test")
    submit = f"/v1/jobs?width=8&webhook={site.url}/hook"
    inner = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    told = minilab.call("POST", submit, PICTURE, inner)["id"]
    minilab.ended(told)
    while len(site.hooks) < 1:
        time.sleep(0.01)
    while not minilab.call("GET", f"/v1/jobs/{told}")["webhook"]["attempts"]:
        time.sleep(0.01)
    minilab.call("POST", f"/v1/jobs/{told}/deliveries/redeliver", b"")
    failed = minilab.call("POST", "/v1/jobs?format=jpeg&max_bytes=10", PICTURE, inner)["id"]
    minilab.ended(failed)
    alone = minilab.call("POST", submit, PICTURE)["id"]
    minilab.ended(alone)
    unsampled = minilab.call("POST", submit, PICTURE, {"traceparent": f"00-{'ab' * 16}-{CALLER}-00"})["id"]
    minilab.ended(unsampled)
    while len(site.hooks) < 4:
        time.sleep(0.01)
    errors, _ = minilab.stop()
    assert errors == "", errors

    # Everything was sent before the end: nothing is waited for here.
    (attempt,), deliveries = of_job(site, "attempt", told), of_job(site, "delivery", told)
    (request,) = [one for one in site.spans if one.name == "request" and one.span_id == attempt.parent_span_id]
    assert (request.parent_span_id.hex(), request.kind, attributes(request)["http.response.status_code"]) == (CALLER, SERVER, 202)
    assert len(attributes(request)["request.id"]) == 16 and "?" not in attributes(request)["url.path"], attributes(request)
    assert (attempt.trace_id.hex(), attempt.parent_span_id, attempt.kind) == (TRACE, request.span_id, CONSUMER)
    assert attributes(attempt) == {**attributes(attempt), "job.attempt": 1, "job.status": "succeeded"}, attributes(attempt)
    stages = [event.name for event in attempt.events]
    assert stages == ["wait", "decode", "resize", "encode", "store"], stages
    times = [attempt.start_time_unix_nano, *(event.time_unix_nano for event in attempt.events), attempt.end_time_unix_nano]
    assert times == sorted(times), times
    assert [(one.trace_id.hex(), one.parent_span_id, one.kind) for one in deliveries] == [(TRACE, request.span_id, CLIENT)] * 2
    assert [attributes(one)["http.response.status_code"] for one in deliveries] == [503, 204]
    assert [one.status.code for one in deliveries] == [2, 0], "only the refused one is an error"
    of_told = [parent for parent, event in site.hooks if event["data"]["id"] == told]
    assert of_told == [f"00-{TRACE}-{one.span_id.hex()}-01" for one in deliveries], of_told

    (attempt,) = of_job(site, "attempt", failed)
    assert (attempt.status.code, attempt.status.message, attributes(attempt)["job.status"]) == (2, "max_bytes_unreachable", "failed")

    # Without a parent there is a trace of its own; and nobody records what the caller has chosen not to.
    (attempt,), (delivery,) = of_job(site, "attempt", alone), of_job(site, "delivery", alone)
    assert attempt.trace_id == delivery.trace_id and attempt.trace_id.hex() != TRACE
    assert not of_job(site, "attempt", unsampled)
    (parent,) = [parent for parent, event in site.hooks if event["data"]["id"] == unsampled]
    assert parent.startswith(f"00-{'ab' * 16}-") and parent.endswith("-00"), parent

    expected = {"service.name": "minilab", "deployment.environment.name": "test"}
    assert all(expected.items() <= resource.items() for resource in site.resources), site.resources
    assert all({name.lower(): value for name, value in headers.items()}["x-tenant"] == "blue" for headers in site.headers)
    print(f"{len(site.spans)} spans: request, attempt and both deliveries of a job are one trace, which the webhook goes on with")


def a_collector_that_hangs_holds_up_nobody(program, directory):
    # Connections are taken by the system, and nobody ever answers.
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        endpoint = "http://127.0.0.1:%d" % silent.getsockname()[1]
        minilab = Minilab(program, directory, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="50", OTEL_BSP_MAX_QUEUE_SIZE="64",
                          OTEL_BSP_MAX_EXPORT_BATCH_SIZE="16")
        slowest, began = 0, time.monotonic()
        for number in range(400):
            one = time.monotonic()
            minilab.call("GET", "/v1/jobs?limit=1")
            slowest = max(slowest, time.monotonic() - one)
        took = time.monotonic() - began
        metrics = urllib.request.urlopen(minilab.url + "/metrics").read().decode()
        stall = float(re.search(r"^minilab_event_loop_stall_max_seconds (\S+)$", metrics, re.M).group(1))
        _, ending = minilab.stop()
        print(f"a collector that hangs: 400 requests in {took:.1f} s, the slowest {slowest * 1000:.0f} ms; longest stall of an event loop"
              f" {stall * 1000:.0f} ms; ended in {ending:.1f} s")
        assert slowest < 1 and ending < 10, (slowest, ending)


def attempts_at(site, program, directory, **environment):
    """How many spans of attempts arrive of a job whose caller recorded, and of one whose caller chose not to."""
    minilab = Minilab(program, directory, OTEL_EXPORTER_OTLP_ENDPOINT=site.url, **environment)
    before = len(site.spans)
    jobs = []
    for flag in ("01", "00"):
        jobs.append(minilab.call("POST", "/v1/jobs?width=8", PICTURE, {"traceparent": f"00-{os.urandom(16).hex()}-{CALLER}-{flag}"})["id"])
        minilab.ended(jobs[-1])
    errors, _ = minilab.stop()
    assert errors == "", errors
    of = [attributes(span).get("job.id") for span in site.spans[before:] if span.name == "attempt"]
    return [of.count(job) for job in jobs]


def the_usual_variables_decide_what_is_recorded(program, directory):
    site = Site()
    sampler = "OTEL_TRACES_SAMPLER"
    cases = [
        ({}, [1, 0]),
        ({sampler: "always_on"}, [1, 1]),
        ({sampler: "always_off"}, [0, 0]),
        ({sampler: "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, [0, 0]),
        ({sampler: "parentbased_always_off"}, [1, 0]),
        ({"OTEL_SDK_DISABLED": "true"}, [0, 0]),
        ({"OTEL_TRACES_EXPORTER": "none"}, [0, 0]),
    ]
    for number, (environment, expected) in enumerate(cases):
        seen = attempts_at(site, program, f"{directory}-{number}", **environment)
        assert seen == expected, (environment, seen)
    print(f"{len(cases)} environments record what they say")


def a_collector_that_cannot_be_one_is_told_at_once(program, directory):
    for value in ("localhost:4318", "grpc://127.0.0.1:4317"):
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": value}
        ended = subprocess.run(command(program, directory), capture_output=True, text=True, timeout=30, env=environment)
        assert ended.returncode not in (0, 101) and "OTEL_EXPORTER_OTLP_ENDPOINT must be" in ended.stderr and value in ended.stderr, ended
    # One that is merely away holds up nothing.
    minilab = Minilab(program, directory, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    minilab.ended(minilab.call("POST", "/v1/jobs?width=8", PICTURE)["id"])
    _, ending = minilab.stop()
    assert ending < 10, ending
    print("endpoints that are no address end the start; one that nobody is at does not")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        the_trace_goes_on_from_the_submit_to_the_webhook(os.path.abspath(sys.argv[1]), f"{scratch}/one")
        a_collector_that_hangs_holds_up_nobody(os.path.abspath(sys.argv[1]), f"{scratch}/two")
        the_usual_variables_decide_what_is_recorded(os.path.abspath(sys.argv[1]), f"{scratch}/three")
        a_collector_that_cannot_be_one_is_told_at_once(os.path.abspath(sys.argv[1]), f"{scratch}/four")
