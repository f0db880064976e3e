// A webhook receiver that trusts the Standard Webhooks library from npm alone.
//
// Verifies every delivery, then tampers with it in every way and demands that the library rejects it. One line a delivery: what was found.
// Usage: receiver.mjs SECRET LIBRARY, where LIBRARY is the directory that the package was installed in.

import http from "node:http";
import { createRequire } from "node:module";

const [secret, library] = process.argv.slice(2);
const { Webhook } = createRequire(`${library}/`)("standardwebhooks");
const webhook = new Webhook(secret);
const stranger = new Webhook("whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==");

function accepted([judge, body, headers]) {
  try {
    judge.verify(body, headers);
    return true;
  } catch {
    return false;
  }
}

/** What is wrong with this delivery, or nothing. */
function judge(body, headers) {
  // One of them is enough to be accepted, so each is changed, in the middle: the last character holds bits that mean nothing.
  const flip = (one) => one.slice(0, 20) + (one[20] === "A" ? "B" : "A") + one.slice(21);
  const flipped = headers["webhook-signature"].split(" ").map(flip).join(" ");
  const { "webhook-signature": _, ...unsigned } = headers;
  const tampered = {
    "body": [webhook, body.replaceAll("job.", "jab."), headers],
    "longer body": [webhook, `${body} `, headers],
    "id": [webhook, body, { ...headers, "webhook-id": `${headers["webhook-id"]}0` }],
    "earlier time": [webhook, body, { ...headers, "webhook-timestamp": `${headers["webhook-timestamp"] - 1}` }],
    "old time": [webhook, body, { ...headers, "webhook-timestamp": "1000000000" }],
    "signature": [webhook, body, { ...headers, "webhook-signature": flipped }],
    "no signature": [webhook, body, unsigned],
    "another secret": [stranger, body, headers],
  };
  if (!accepted([webhook, body, headers])) return "the delivery was rejected";
  const wrong = Object.keys(tampered).filter((name) => accepted(tampered[name]));
  return wrong.length > 0 ? `accepted although tampered with: ${wrong.join(", ")}` : null;
}

const server = http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts).toString();
  const event = JSON.parse(body);
  console.log(JSON.stringify({ problem: judge(body, request.headers), type: event.type, job: event.data.id }));
  response.writeHead(204).end();
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
