"""A webhook receiver that trusts the Standard Webhooks library from PyPI alone.

Verifies every delivery, then tampers with it in every way and demands that the library rejects it. One line a delivery: what was found.
Usage: receiver.py SECRET
"""

import http.server
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook(sys.argv[1])
stranger = Webhook("whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==")


def accepted(judge, body, headers):
    try:
        judge.verify(body, headers)
        return True
    except (WebhookVerificationError, ValueError):
        return False


def judge(body, headers):
    """What is wrong with this delivery, or nothing."""
    # One of them is enough to be accepted, so each is changed, in the middle: the last character holds bits that mean nothing.
    flipped = " ".join(one[:20] + ("A" if one[20] != "A" else "B") + one[21:] for one in headers["webhook-signature"].split())
    tampered = {
        "body": (webhook, body.replace(b"job.", b"jab."), headers),
        "longer body": (webhook, body + b" ", headers),
        "id": (webhook, body, {**headers, "webhook-id": headers["webhook-id"] + "0"}),
        "earlier time": (webhook, body, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}),
        "old time": (webhook, body, {**headers, "webhook-timestamp": "1000000000"}),
        "signature": (webhook, body, {**headers, "webhook-signature": flipped}),
        "no signature": (webhook, body, {k: v for k, v in headers.items() if k != "webhook-signature"}),
        "another secret": (stranger, body, headers),
    }
    if not accepted(webhook, body, headers):
        return "the delivery was rejected"
    wrong = [name for name, case in tampered.items() if accepted(*case)]
    return f"accepted although tampered with: {', '.join(wrong)}" if wrong else None


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        problem = judge(body, {name.lower(): value for name, value in self.headers.items()})
        event = json.loads(body)
        print(json.dumps({"problem": problem, "type": event["type"], "job": event["data"]["id"]}), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
