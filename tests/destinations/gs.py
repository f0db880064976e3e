"""Deliveries to Google Cloud Storage as another program understands it: `gcp-storage-emulator`, behind a door that checks what the
emulator doesn't: that each request carries a token which our service account has signed, for a scope that may write.

Usage: gs.py MINILAB. Needs `pip install gcp-storage-emulator 'pyjwt[crypto]'`. Starts the emulator and minilab itself, on ports of their
own, and ends them.
"""

import json
import logging
import sys
import tempfile
import urllib.parse
import urllib.request

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_storage_emulator.server import create_server

from program import Front, Minilab, busy, exam

ACCOUNT = "robot@project.example"


def service_account():
    """A key as Google hands it out, and the public half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private = key.private_bytes(*form).decode()
    shape = {"type": "service_account", "private_key": private, "private_key_id": "k1", "client_email": ACCOUNT}
    return json.dumps(shape), key.public_key()


def main():
    logging.disable(logging.CRITICAL)
    emulator = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    emulator.start()
    endpoint = "http://%s:%s" % emulator._api._httpd.server_address[:2]
    account, public = service_account()
    stranger, _ = service_account()

    def judge(handler):
        scheme, _, token = handler.headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(token, public, algorithms=["RS256"])
        except jwt.InvalidTokenError:
            return 401
        may_write = "auth/devstorage.full_control" in claims["scope"] or "auth/cloud-platform" in claims["scope"]
        return None if scheme == "Bearer" and claims["iss"] == ACCOUNT and may_write else 403

    # Google answers an upload with these; the emulator doesn't.
    adds = {"etag": '"1"', "x-goog-generation": "1"}
    door, hesitating = Front(endpoint, judge, adds), Front(endpoint, busy(2), adds)

    def look(key):
        path = f"/bucket/some/prefix/{key}"
        # The emulator forgets the disposition; what was sent is known at the door.
        sent = [headers for asked, headers in door.asked if urllib.parse.unquote(asked) == path][-1]
        wanted = 'inline; filename="leaf.webp"' if key.endswith("a.webp") else None
        assert {name.lower(): value for name, value in sent.items()}.get("content-disposition") == wanted, sent
        with urllib.request.urlopen(endpoint + path) as stored:
            return stored.read(), stored.headers["content-type"], "as sent"

    destinations = {
        "media": {"url": "gs://bucket/some/prefix", "base_url": door.url, "service_account_key": account},
        "absent": {"url": "gs://absent", "base_url": door.url, "service_account_key": account},
        "denied": {"url": "gs://bucket", "base_url": door.url, "service_account_key": stranger},
        "busy": {"url": "gs://bucket", "base_url": hesitating.url, "service_account_key": account},
    }
    with tempfile.TemporaryDirectory() as directory:
        minilab = Minilab(sys.argv[1], directory, destinations)
        try:
            exam(minilab, look, "gs://bucket/some/prefix", 30)
            minilab.stop()
        finally:
            if minilab.process.poll() is None:
                minilab.kill()
        assert len(hesitating.asked) == 4, hesitating.asked
        secret = json.loads(account)["private_key"].splitlines()[1].encode()
        assert secret not in minilab.log() and b"Bearer" not in minilab.log(), "a secret in the log"
    emulator.stop()


if __name__ == "__main__":
    main()
