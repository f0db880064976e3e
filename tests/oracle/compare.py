#!/usr/bin/env python3
"""Compares what the server makes with what programs that are not ours make of the same picture.

    python3 tests/oracle/compare.py target/release/minilab           # compares; fails when a distance is exceeded
    python3 tests/oracle/compare.py target/release/minilab --write   # compares and rewrites README.md's table

Starts the server on a free port of the loopback in a scratch directory, sends every row's picture and operations over HTTP, and compares the
PNG that comes back, or what else a row asks for, sample by sample, with the oracle's. Fails when a row is further away than it states, when an operation of
/v1/capabilities has no row, and when README.md does not list these rows and distances. Needs Pillow, numpy, scipy and pyvips (with its
binary), and DejaVu Sans for letters that the bundled fonts lack, which `.ci/run` installs.
"""

import io
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

import rows as table
from oracles import FONTS, array

HERE = Path(__file__).resolve().parent
LISTENING_WITHIN = 30.0


class Server:
    """The program under test, for as long as the block runs."""

    def __init__(self, program, settings=""):
        self.program, self.settings = program, settings

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.base = f"http://127.0.0.1:{probe.getsockname()[1]}"
        listen = self.base.removeprefix("http://")
        settings = Path(self.scratch.name, "minilab.toml")
        settings.write_text(self.settings)
        arguments = [self.program, "--listen", listen, "--data-dir", f"{self.scratch.name}/data", "--config", str(settings)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + LISTENING_WITHIN
        while True:
            try:
                self.get("/health/live")
                return self
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit("the server did not come up")
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.scratch.cleanup()

    def get(self, path):
        with urllib.request.urlopen(self.base + path, timeout=90) as answer:
            return answer.read()

    def make(self, source, spec, assets):
        """The pixels of a job's only output."""
        boundary = "----oracle"
        parts = [("job", "job.json", json.dumps(spec).encode()), ("file", "source", source)]
        parts += [(name, name, data) for name, data in assets.items()]
        body = b""
        for name, filename, data in parts:
            given = "" if name == "job" else f'; filename="{filename}"'
            body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{given}\r\n\r\n'.encode() + data + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        request = urllib.request.Request(f"{self.base}/v1/jobs?wait=60", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                job = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
        if job["status"] != "succeeded":
            raise AssertionError(f"{job['status']}: {job['error']}")
        return array(Image.open(io.BytesIO(self.get(f"/v1/jobs/{job['id']}/outputs/output"))))


def alike(ours, theirs):
    """Both with as many channels as the wider has; colours count as far as they are to be seen, weighed by alpha."""
    def widened(array, channels):
        if array.shape[2] == 1 and channels > 1:
            array = np.repeat(array, 3, axis=2)
        if array.shape[2] == 3 and channels == 4:
            array = np.dstack([array, np.full(array.shape[:2], 255, array.dtype)])
        return array.astype(float)

    channels = max(ours.shape[2], theirs.shape[2])
    ours, theirs = widened(ours, channels), widened(theirs, channels)
    if channels == 4:
        for samples in (ours, theirs):
            samples[:, :, :3] *= samples[:, :, 3:] / 255
    return ours, theirs


def distance(ours, theirs):
    if ours.shape[:2] != theirs.shape[:2]:
        raise AssertionError(f"{ours.shape[1]}×{ours.shape[0]} instead of {theirs.shape[1]}×{theirs.shape[0]}")
    ours, theirs = alike(ours, theirs)
    apart = np.abs(ours - theirs)
    return float(apart.max()), float(apart.mean())


def compare(server, row):
    """The largest and the mean distance of a row."""
    output = {"operations": row.operations, "format": "png", **row.output}
    ours = server.make(row.source, {"outputs": [output], **row.job}, row.assets)
    if row.judge is not None:
        return row.judge(ours)
    return distance(ours, row.oracle())


def line(row, measured):
    asked = row.operations or row.output
    operations = f"`{json.dumps(asked)}`" if asked else "(decoding alone)"
    found = f"{measured[0]:.0f} / {measured[1]:.3f}"
    return f"| {row.name} | {row.source_name} | {operations} | {row.by} | {row.allowed[0]} / {row.allowed[1]} | {found} |"


def stated(text):
    """What README.md lists, without what was measured."""
    return [part.rsplit("|", 2)[0] for part in text.splitlines() if part.startswith("| ") and not part.startswith("| Row")]


def main():
    program, write = sys.argv[1], "--write" in sys.argv
    problems, lines = [], []
    rows = table.rows()
    with Server(program, f'[fonts]\nworld = "{FONTS["world"]}"\n') as server:
        operations = [operation["name"] for operation in json.loads(server.get("/v1/capabilities"))["operations"]]
        compared = {operation["op"] for row in rows for operation in row.operations} | set(table.ELSEWHERE)
        problems += [f"{name} has no row" for name in operations if name not in compared]
        for row in rows:
            try:
                measured = compare(server, row)
            except AssertionError as error:
                problems.append(f"{row.name} ({row.source_name}): {error}")
                continue
            lines.append(line(row, measured))
            if measured[0] > row.allowed[0] or measured[1] > row.allowed[1]:
                problems.append(f"{row.name} ({row.source_name}): {measured[0]:.0f} / {measured[1]:.3f} is more than {row.allowed}")
    readme = HERE / "README.md"
    head, _, _ = readme.read_text().partition("| Row |")
    title = "| Row | Picture | Operations | Oracle | Allowed: largest / mean | Measured |\n|---|---|---|---|---|---|\n"
    if write:
        readme.write_text(head + title + "\n".join(lines) + "\n")
    elif not problems and stated(readme.read_text()) != [part.rsplit("|", 2)[0] for part in lines]:
        problems.append("README.md does not list these rows; run with --write")
    print(f"{len(lines)} of {len(rows)} rows compared, {len(operations)} operations")
    for problem in problems:
        print(f"FAILED {problem}")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
