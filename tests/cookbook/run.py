"""Runs every program of the cookbook: each recipe in each language, in a directory of its own, against the real server.

Called by `.ci/cookbook` as `run.py PROGRAM RUST_EXAMPLE NODE_MODULES`. Fails when a program fails, when a picture that a recipe promises does not
appear or is none, when a recipe misses a language, when a line of Rust on the page is not in `main.rs`, and when a table of the ways here from
other programs names something that the server does not know.
"""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "examples/cookbook/README.md").read_text()
RUST = (ROOT / "examples/cookbook/main.rs").read_text()
RECIPES = 10
LANGUAGES = {"sh": ["bash", "-euo", "pipefail"], "js": ["node"], "python": [sys.executable]}
SUFFIXES = {"sh": "recipe.sh", "js": "recipe.mjs", "python": "recipe.py"}
#: Recipes in the order of the page, by their names in main.rs.
NAMES = re.findall(r'Some\("(\w+)"\) =>', RUST.split("fn develop")[0])
#: Made by the receiver; `curl` and the Rust client only submit.
NOT_EVERYWHERE = {("webhook", "sh"), ("webhook", "rust")}
SECONDS = 60


def blocks(text):
    """Fenced blocks as (language, marker, code)."""
    return re.findall(r"^```(\w+) ?(\w*)\n(.*?)^```$", text, re.S | re.M)


def scratch_with_pictures(parent, name, modules):
    scratch = parent / name
    scratch.mkdir()
    shutil.copy(ROOT / "tests/data/path.jpg", scratch / "photo.jpg")
    shutil.copy(ROOT / "tests/golden/inputs/logo.png", scratch / "logo.png")
    shutil.copy(ROOT / "tests/golden/inputs/animated.gif", scratch / "animation.gif")
    (scratch / "node_modules").symlink_to(modules)
    return scratch


def run(command, scratch, environment):
    ended = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, timeout=SECONDS)
    if ended.returncode != 0:
        raise AssertionError(f"{scratch.name}: ended with {ended.returncode}\n{ended.stdout}{ended.stderr}")


def check_made(scratch, promised):
    for name in promised:
        path = scratch / name
        assert path.is_file() and path.stat().st_size > 0, f"{scratch.name}: {name} was not made"
        if path.suffix == ".txt":
            assert path.read_text().startswith("job.succeeded "), f"{scratch.name}: {path.read_text()}"
        else:
            with Image.open(path) as image:
                image.load()


def serve_pictures():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    scratch = tempfile.mkdtemp()
    shutil.copy(ROOT / "tests/data/path.jpg", Path(scratch) / "photo.jpg")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=scratch))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def start_server(program, parent):
    data = parent / "data"
    command = [program, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data), "--allow-private-network", "127.0.0.0/8"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    url = re.search(r"http://\S+", server.stdout.readline()).group()
    secret = subprocess.run([program, "webhook-secret", "--data-dir", str(data)], capture_output=True, text=True, check=True).stdout.strip()
    return server, url, secret


def programs(parent, rust, modules):
    """Every program of the page: (command, directory, promised files)."""
    head, *recipes = re.split(r"^## ", PAGE, flags=re.M)
    assert len(recipes) == RECIPES == len(NAMES), f"{len(recipes)} recipes, {len(NAMES)} functions"
    setup = {language: code for language, marker, code in blocks(head) if marker == "setup"}
    for name, recipe in zip(NAMES, recipes):
        promised = re.findall(r"`([^`]+)`", re.search(r"^Makes: (.*)$", recipe, re.M).group(1))
        found = {language: code for language, marker, code in blocks(recipe) if not marker}
        assert set(found) == {*LANGUAGES, "rust"}, f"{name} is there in {sorted(found)}"
        assert textwrap.indent(found["rust"], "    ") in RUST, f"the Rust of {name} is not that of main.rs"
        for language, command in LANGUAGES.items():
            scratch = scratch_with_pictures(parent, f"{name}-{language}", modules)
            (scratch / SUFFIXES[language]).write_text(setup[language] + "\n" + found[language])
            yield [*command, SUFFIXES[language]], scratch, [] if (name, language) in NOT_EVERYWHERE else promised
        scratch = scratch_with_pictures(parent, f"{name}-rust", modules)
        yield [rust, name], scratch, [] if (name, "rust") in NOT_EVERYWHERE else promised
    rust_setup = next(code for language, _, code in blocks(head) if language == "rust")
    assert rust_setup in RUST, "the Rust setup is not that of main.rs"


def vocabulary(url):
    """Every name that a specification may hold: fields, operations and their parameters, words to choose among; parameters of queries; paths."""
    with urllib.request.urlopen(f"{url}/openapi.json") as answer:
        document = json.load(answer)
    names = set()

    def walk(schema):
        if isinstance(schema, dict):
            names.update(schema.get("properties", {}))
            names.update(word for word in [*schema.get("enum", []), schema.get("const")] if isinstance(word, str))
            schema = list(schema.values())
        for part in schema if isinstance(schema, list) else []:
            walk(part)

    walk(document["components"]["schemas"]["JobSpec"])
    calls = [call for item in document["paths"].values() for call in item.values()]
    asked = {parameter["name"] for call in calls for parameter in call.get("parameters", []) if parameter["in"] == "query"}
    return names, asked, set(document["paths"])


def strangers(code, names, asked, paths):
    """What is unknown of a piece of code in a table."""
    if match := re.match(r"(?:GET |POST )?(/v1/[\w/{}]+)", code):
        return {match.group(1)} - paths
    if code.startswith("?"):
        return {code[1:].split("=")[0]} - asked
    if code.startswith('"'):
        words = re.findall(r'"([a-z_]+)"', code)
        return set(words) - names
    return {code} - names if re.fullmatch(r"[a-z_]+", code) else set()


def check_tables(url):
    """The tables of the ways here from other programs, against what the server knows."""
    known = vocabulary(url)
    rows = re.findall(r"^\| (.+) \| (.+) \|$", PAGE, re.M)
    told = [(row, code) for row in rows for code in re.findall(r"`([^`]+)`", row[1])]
    assert len(told) > 50, f"the tables name only {len(told)} things"
    unknown = [f"{row[0]}: {name} is not known to the server" for row, code in told for name in strangers(code, *known)]
    assert not unknown, "\n".join(unknown)
    print(f"the ways here from other programs: {len(rows)} rows, {len(told)} names")


def main(program, rust, modules):
    with tempfile.TemporaryDirectory() as directory:
        parent = Path(directory)
        server, url, secret = start_server(program, parent)
        environment = {**os.environ, "MINILAB_URL": url, "WEBHOOK_SECRET": secret, "PHOTOS_URL": serve_pictures()}
        try:
            check_tables(url)
            every = list(programs(parent, str(Path(rust).resolve()), Path(modules).resolve()))

            def one(item):
                command, scratch, promised = item
                try:
                    run(command, scratch, environment)
                    check_made(scratch, promised)
                except (AssertionError, OSError, subprocess.TimeoutExpired) as failure:
                    return str(failure)
                return None

            with ThreadPoolExecutor(4) as pool:
                failures = [failure for failure in pool.map(one, every) if failure]
            if failures:
                sys.exit("\n".join(failures))
            print(f"the cookbook ran: {len(every)} programs of {RECIPES} recipes")
        finally:
            server.terminate()
            server.wait(timeout=SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
