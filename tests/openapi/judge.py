#!/usr/bin/env python3
"""The API against its own description, as programs see it that are not ours.

Starts the server with API keys on a free port, then: openapi-spec-validator reads the document; every path refuses every method that it does
not declare, with 405 and `Allow`; a client that openapi-typescript has generated is compiled strictly, submits a picture, waits and downloads
the result; schemathesis tries every operation, and sequences of them, all its checks on, with the same requests in every run.

Usage: judge.py PROGRAM TOOLS [SECONDS], where TOOLS is what `.ci/tools` has installed and SECONDS is how long schemathesis may go on with
random requests after those that the schemas name (without it: not at all).
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

import openapi_spec_validator

HERE = pathlib.Path(__file__).resolve().parent
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "QUERY", "TRACE", "PROPFIND", "LOCK"]
#: Streams of events do not end; everything else is tried.
STREAMS = "/events$"


def start(program, scratch):
    data = f"{scratch}/data"
    token = subprocess.run([program, "keys", "add", "judge", "--scopes", "submit,read,admin", "--data-dir", data],
                           check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1]
    token = re.search(r"mlk_\S+", token).group()
    arguments = ["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", data, "--log", "error"]
    server = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True)
    return server, json.loads(server.stdout.readline())["listening"], token


def undeclared_methods(url, token, document):
    """Every method on every path: what the document does not declare is 405, and `Allow` names what it does."""
    host = url.removeprefix("http://")
    refused = 0
    for path, item in document["paths"].items():
        declared = {method.upper() for method in item}
        if "GET" in declared:
            declared.add("HEAD")
        for method in METHODS:
            if method in declared:
                continue
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.request(method, re.sub(r"\{\w+\}", "x", path), headers={"authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            allowed = {word.strip() for word in answer.headers.get("allow", "").split(",")}
            assert answer.status == 405, f"{method} {path}: {answer.status}"
            assert allowed == declared | {"OPTIONS"}, f"{method} {path}: Allow is {allowed}, declared are {declared}"
            connection.close()
            refused += 1
    print(f"{refused} undeclared methods on {len(document['paths'])} paths: all 405")


def generated_client(url, token, document, tools, scratch):
    """openapi-typescript makes the types, openapi-fetch the calls; tsc judges strictly, node runs it."""
    work = pathlib.Path(scratch) / "client"
    work.mkdir()
    (work / "node_modules").symlink_to(tools / "node_modules")
    (work / "package.json").write_text('{"type": "module"}')
    (work / "openapi.json").write_text(json.dumps(document))
    shutil.copy(HERE / "client.ts", work)
    shutil.copy(HERE / "tsconfig.json", work)
    programs = tools / "node_modules/.bin"
    for command in (
        [programs / "openapi-typescript", "openapi.json", "--output", "schema.d.ts"],
        [programs / "tsc", "--project", "tsconfig.json"],
        ["node", "client.js", url, token, HERE.parent / "data/leaf.jpg"],
    ):
        done = subprocess.run([str(word) for word in command], cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, f"{pathlib.Path(command[0]).name}: {done.stdout}{done.stderr}"
    print(done.stdout.strip())


def schemathesis(url, token, tools, scratch, seconds):
    command = [
        tools / "python/bin/schemathesis", "--config-file", HERE / "schemathesis.toml",
        "run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {token}",
        "--exclude-path-regex", STREAMS, "--request-timeout", "20", "--warnings", "off",
    ]
    if seconds:
        command += ["--phases", "examples,coverage,fuzzing,stateful", "--max-time", seconds]
    else:
        command += ["--phases", "examples,coverage,stateful", "--generation-deterministic"]
    done = subprocess.run([str(word) for word in command], cwd=scratch, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    print(re.search(r"=+ SUMMARY =+\n(.*)", done.stdout, re.S).group(1).strip())


def main(program, tools, seconds=None):
    tools = pathlib.Path(tools).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        server, url, token = start(os.path.abspath(program), scratch)
        try:
            with urllib.request.urlopen(f"{url}/openapi.json") as answer:
                document = json.load(answer)
            openapi_spec_validator.validate(document)
            print(f"OpenAPI {document['openapi']}: valid, {len(document['paths'])} paths, {len(document['webhooks'])} webhooks")
            undeclared_methods(url, token, document)
            generated_client(url, token, document, tools, scratch)
            schemathesis(url, token, tools, scratch, seconds)
            assert server.poll() is None, "the server died"
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
