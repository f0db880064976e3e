"""DNS rebinding against the real program and the system's own resolver, in a network of its own.

Usage: rebinding.py MINILAB. Needs `unshare` and `mount` (util-linux) and user namespaces, and no privileges: the network has a name server
that changes its mind with every question, a public address where images are served and webhooks are taken, and doors on addresses that
nobody may be led to, where every connection is counted.
"""

import fcntl
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

JOBS = 150
PUBLIC = "93.184.216.34"
INSIDE = ("127.0.0.1", "10.0.0.1", "169.254.169.254")
PICTURE = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/leaf.jpg"), "rb").read()
SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP = 0x8914, 0x8916, 1


def bring_up(addresses):
    """The loopback interface, with more addresses than it usually has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        for number, address in enumerate(addresses):
            name = f"lo:{number + 1}".encode()
            fcntl.ioctl(control, SIOCSIFADDR, struct.pack("16sH2x4s8x", name, socket.AF_INET, socket.inet_aton(address)))


class Names(threading.Thread):
    """Answers every question for an address: by turns with the public one, with one inside, with both; never to be kept."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.asked = 0

    def run(self):
        while True:
            question, whence = self.socket.recvfrom(4096)
            end = question.index(b"\0", 12) + 5
            answers = b""
            if question[end - 4 : end - 2] == b"\0\1":
                inside = INSIDE[self.asked // 3 % len(INSIDE)]
                for address in ((PUBLIC,), (inside,), (inside, PUBLIC))[self.asked % 3]:
                    answers += b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 0, 4) + socket.inet_aton(address)
                self.asked += 1
            head = question[:2] + b"\x81\x80\0\1" + struct.pack(">HHH", len(answers) // 16, 0, 0)
            self.socket.sendto(head + question[12:end] + answers, whence)


class Public(http.server.BaseHTTPRequestHandler):
    """What may be called: serves a picture, takes webhooks."""

    seen = {"GET": 0, "POST": 0}

    def do_GET(self):
        Public.seen["GET"] += 1
        self.answer(PICTURE)

    def do_POST(self):
        Public.seen["POST"] += 1
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(b"")

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Door(threading.Thread):
    """Counts who knocks."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.listener = socket.create_server((address, 80))
        self.knocks = 0

    def run(self):
        while True:
            self.listener.accept()[0].close()
            self.knocks += 1


def call(method, path, body=None):
    request = urllib.request.Request("http://127.0.0.1:8080" + path, body, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def told(id):
    """The job once it has ended and its webhook was tried."""
    while True:
        job = call("GET", f"/v1/jobs/{id}?wait=30")
        if job["finished_at"] and job["webhook"]["attempts"]:
            return job
        time.sleep(0.02)


def run(program, directory):
    bring_up((PUBLIC,) + INSIDE[1:])
    with open(f"{directory}/resolv.conf", "w") as file:
        file.write("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
    subprocess.run(["mount", "--bind", f"{directory}/resolv.conf", os.path.realpath("/etc/resolv.conf")], check=True)
    names, doors = Names(), [Door(address) for address in INSIDE]
    for thread in (names, *doors):
        thread.start()
    public = http.server.ThreadingHTTPServer((PUBLIC, 80), Public)
    threading.Thread(target=public.serve_forever, daemon=True).start()
    for door in doors:
        socket.create_connection(door.listener.getsockname()).close()
    command = [program, "serve", "--listen", "127.0.0.1:8080", "--data-dir", f"{directory}/data", "--log", "error"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert b"listening" in server.stdout.readline()
        began, ids = time.monotonic(), []
        for number in range(JOBS):
            at = f"http://n{number}.rebound.example"
            spec = {"source": {"url": f"{at}/a.jpg"}, "webhook": {"url": f"{at}/hook"}, "analyze": ["info"]}
            ids.append(call("POST", "/v1/jobs", json.dumps(spec).encode())["id"])
        ends = {}
        for id in ids:
            job = told(id)
            end = job["error"]["code"] if job["error"] else job["status"]
            ends[end] = ends.get(end, 0) + 1
        knocks = [door.knocks - 1 for door in doors]
        print(f"{JOBS} jobs in {time.monotonic() - began:.1f} s: {ends}; {names.asked} lookups; called: {Public.seen};"
              f" connections to {', '.join(INSIDE)}: {knocks}")
        assert knocks == [0, 0, 0], knocks
        assert set(ends) == {"succeeded", "source_forbidden"} and min(ends.values()) > JOBS // 10, ends
        assert Public.seen["GET"] == ends["succeeded"] and Public.seen["POST"] > JOBS // 10, Public.seen
    finally:
        server.kill()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        # The kernel ends everything in here with this process.
        own = ["unshare", "--user", "--map-root-user", "--net", "--mount", sys.executable]
        sys.exit(subprocess.run([*own, os.path.abspath(__file__), os.path.abspath(sys.argv[1]), "inside"]).returncode)
    with tempfile.TemporaryDirectory() as scratch:
        run(sys.argv[1], scratch)
