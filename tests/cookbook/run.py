"""Runs every program of the cookbook: each recipe in each language, in a directory of its own, against the real server.

Called by `.ci/cookbook` as `run.py PROGRAM RUST_EXAMPLE NODE_MODULES`. Fails when a program fails, when a picture that a recipe promises does not
appear or is none, when a recipe misses a language, and when a line of Rust on the page is not in `main.rs`.
"""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
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


def main(program, rust, modules):
    with tempfile.TemporaryDirectory() as directory:
        parent = Path(directory)
        server, url, secret = start_server(program, parent)
        environment = {**os.environ, "MINILAB_URL": url, "WEBHOOK_SECRET": secret, "PHOTOS_URL": serve_pictures()}
        try:
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
