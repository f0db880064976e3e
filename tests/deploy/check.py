"""Holds the recipes under examples/deploy to what the program knows, and /metrics to what Prometheus reads.

    python tests/deploy/check.py target/release/minilab

Needs PyYAML, kubernetes-validate and prometheus-client; `systemd-analyze` judges the unit, and
`promtool` the metrics, where they are there.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import kubernetes_validate
import yaml
from prometheus_client import parser as older_parser
from prometheus_client.openmetrics import parser

BINARY = sys.argv[1]
DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "examples" / "deploy"
problems = []


def expect(truth, words):
    if not truth:
        problems.append(words)


def run(*arguments):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, check=True).stdout


def settings():
    """Every variable that stands for a setting."""
    flags = re.findall(r"--([a-z][a-z-]+)", run("serve", "--help"))
    of_flags = {"MINILAB_" + flag.replace("-", "_").upper() for flag in flags}
    # One has no flag, the other is read when the program is built.
    return of_flags | {"MINILAB_WEBHOOK_SECRET", "MINILAB_COMMIT"}


def variables_and_commands():
    known = settings()
    commands = set(re.findall(r"^  ([a-z-]+) ", run("--help"), re.M))
    for path in sorted(DEPLOY.iterdir()):
        text = path.read_text()
        for variable in set(re.findall(r"\bMINILAB_[A-Z_]+\b", text)):
            expect(variable in known, f"{path.name}: {variable} is no setting")
        called = re.findall(r"\bminilab (?:--rm )?(keys|health|serve|doctor|backup)\b", text)
        expect(set(called) <= commands, f"{path.name}: calls {set(called) - commands}, which the program does not know")


def kubernetes():
    for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        try:
            kubernetes_validate.validate(document, "1.30", strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append(f"kubernetes.yaml, {document['kind']}: {error.message}")


def compose():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    expect("minilab" in services, "compose.yaml: no service minilab")
    build = services["minilab"]["build"]
    expect((DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile", "compose.yaml: builds something else")


def unit():
    tool = shutil.which("systemd-analyze")
    if tool is None:
        return print("systemd-analyze is not here: minilab.service is not judged")
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "minilab.service"
        path.write_text((DEPLOY / "minilab.service").read_text().replace("/usr/local/bin/minilab", "/bin/true"))
        done = subprocess.run([tool, "verify", "--man=no", str(path)], capture_output=True, text=True)
        words = [line for line in done.stderr.splitlines() if "minilab.service" in line]
        expect(done.returncode == 0 and not words, f"minilab.service: {words or done.stderr}")


def work(url):
    """One job that succeeds and one whose webhook nobody takes, so that every metric has something to say."""
    pixel = bytes.fromhex("424d3a0000000000000036000000280000000100000001000000010018000000000004000000000000000000000000000000000000000000ff00")
    for query in ("width=1&format=png", "format=png&webhook=http://127.0.0.1:1/"):
        request = urllib.request.Request(f"{url}/v1/jobs?wait=10&{query}", data=pixel, method="POST")
        with urllib.request.urlopen(request) as answer:
            job = json.load(answer)
            expect(job["status"] == "succeeded", f"the job ended as {job['status']}: {job['error']}")
    for _ in range(100):
        with urllib.request.urlopen(url + "/metrics") as answer:
            if b"minilab_webhook_attempts_total" in answer.read():
                return
        time.sleep(0.1)


def read_plainly(plain, text):
    """The older format tells the same families, and Prometheus' own tool finds nothing to say of it, where it is there."""
    older = {family.name: family for family in older_parser.text_string_to_metric_families(plain)}
    newer = {family.name for family in parser.text_string_to_metric_families(text)}
    expect(set(older) == newer, f"/metrics differs by format: {set(older) ^ newer}")
    untyped = [name for name, family in older.items() if family.type in ("unknown", "untyped")]
    expect(not untyped, f"/metrics has no type for {untyped}")
    tool = shutil.which("promtool")
    if tool is None:
        return print("promtool is not here: /metrics is read by prometheus-client alone")
    done = subprocess.run([tool, "check", "metrics"], input=plain, capture_output=True, text=True)
    words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    expect(done.returncode == 0 and not words, f"promtool: {words}")


def metrics():
    """Reads /metrics strictly, and looks for every metric that the dashboard asks for."""
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [BINARY, "serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", directory, "--log", "error"]
            + ["--allow-private-network", "127.0.0.0/8"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            url = json.loads(server.stdout.readline())["listening"]
            work(url)
            wanted = {"Accept": "application/openmetrics-text; version=1.0.0, text/plain; version=0.0.4; q=0.5"}
            with urllib.request.urlopen(urllib.request.Request(url + "/metrics", headers=wanted)) as answer:
                kind, text = answer.headers["content-type"], answer.read().decode()
            with urllib.request.urlopen(url + "/metrics") as answer:
                plain_kind, plain = answer.headers["content-type"], answer.read().decode()
        finally:
            server.terminate()
            server.wait()
    expect(kind.startswith("application/openmetrics-text"), f"/metrics is {kind}")
    expect(plain_kind.startswith("text/plain; version=0.0.4"), f"/metrics is {plain_kind} for who asks for nothing")
    read_plainly(plain, text)
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    names = set()
    for family in families.values():
        expect(family.name.startswith("minilab_"), f"{family.name} is not ours by name")
        expect(family.documentation, f"{family.name} has no help")
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names |= {family.name + suffix for suffix in suffixes}
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    asked = set(re.findall(r"\bminilab_[a-z_]+", json.dumps(dashboard["panels"])))
    expect(len(asked) > 10, "the dashboard asks for hardly anything")
    for name in sorted(asked):
        expect(name in names, f"grafana.json: {name} is no metric")
    print(f"{len(families)} metrics, {len(asked)} of them on the dashboard")


variables_and_commands()
kubernetes()
compose()
unit()
metrics()
for problem in problems:
    print(problem)
sys.exit(bool(problems))
