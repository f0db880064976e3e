// The dashboard, clicked through in Chromium as people do. `node --test tests/browser`; see `.ci/browser`.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { axe, listed, openPage, picture, ready, root, screenshot, startBrowser, startServer, submit } from "./stage.mjs";

let server;
let browser;
before(async () => {
  server = await startServer();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const REFUSED = "status of 422";
const cut = (page) => page.locator(".compare").first().evaluate((frame) => frame.style.getPropertyValue("--cut"));
const natural = (locator) => locator.evaluate(async (image) => {
  await image.decode();
  return [image.naturalWidth, image.naturalHeight];
});
const spec = async (page) => JSON.parse(await page.locator("#preview-json").textContent());

/** Drops files on the page as a file manager does. */
async function drop(page, names) {
  const files = names.map((name) => ({ name, bytes: fs.readFileSync(picture(name)).toString("base64") }));
  const transfer = await page.evaluateHandle((given) => {
    const made = new DataTransfer();
    for (const { name, bytes } of given) made.items.add(new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], name, { type: "image/jpeg" }));
    return made;
  }, files);
  for (const kind of ["dragenter", "dragover", "drop"]) await page.dispatchEvent(".drop-label", kind, { dataTransfer: transfer });
}

/** Adds operations to the first output: the first as people do, the others without a pointer's way to the button, which takes longer. */
async function addAll(page, [first, ...others]) {
  const adder = page.locator(".output .adder").first();
  await adder.locator("select").selectOption(first);
  await adder.getByRole("button").click();
  for (const name of others) {
    await adder.locator("select").selectOption(name);
    await adder.locator("button").dispatchEvent("click");
  }
}

/** Removes operations in the same way. */
async function removeAll(page, names) {
  for (const name of names) await page.locator(`button[aria-label="Remove: ${name}"]`).dispatchEvent("click");
}

test("drop a file, watch it finish, compare, download the very bytes", async () => {
  const { page, close } = await openPage(browser, server.url);
  await ready(page);
  await page.locator("#live.on").waitFor();
  const listings = [];
  page.on("request", (request) => { if (/\/v1\/jobs\?limit/.test(request.url())) listings.push(request.url()); });
  await drop(page, ["path.jpg"]);
  await page.locator("#chosen", { hasText: "path.jpg" }).waitFor();
  await page.locator("#plan", { hasText: "webp 800×500" }).waitFor();
  await page.click("#send");
  await listed(page, "succeeded").waitFor();
  assert.deepEqual(listings, [], "the news came by the stream, not by asking");
  assert.deepEqual(await natural(listed(page, "succeeded").locator("img")), [800, 500]);
  assert.match(await listed(page, "succeeded").textContent(), /−\d\d %/);
  await screenshot(page, "home");

  await listed(page, "succeeded").locator(".job-link").click();
  await page.locator(".comparison").waitFor();
  assert.deepEqual(await natural(page.locator(".compare .before")), [1600, 1000]);
  assert.deepEqual(await natural(page.locator(".compare .after")), [800, 500]);
  assert.equal(await cut(page), "50%");
  await page.locator(".compare-control input").press("ArrowLeft");
  assert.equal(await cut(page), "49%");
  const box = await page.locator(".compare").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 4, box.y + 20);
  await page.mouse.up();
  assert.equal(await cut(page), "25%");
  for (const stage of ["decode", "encode"]) await page.locator(".stages", { hasText: stage }).waitFor();
  await screenshot(page, "job");

  const id = (await page.evaluate(() => location.hash)).split("/").pop();
  const job = await (await fetch(`${server.url}/v1/jobs/${id}`)).json();
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator(".result .button", { hasText: "Download" }).click()]);
  const bytes = fs.readFileSync(await download.path());
  assert.equal(createHash("sha256").update(bytes).digest("hex"), job.outputs[0].sha256);
  assert.match(download.suggestedFilename(), /\.webp$/);
  await page.goBack();
  await page.locator("#jobs .job").first().waitFor();
  await close();
});

test("an upload tells how far it is, and can be stopped", async () => {
  const { page, close } = await openPage(browser, server.url);
  await ready(page);
  const session = await page.context().newCDPSession(page);
  await session.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 150_000 });
  await page.setInputFiles("#file", [picture("path.jpg"), picture("ladybird.jpg")]);
  await page.click("#send");
  await page.waitForFunction(() => {
    const bar = document.querySelector("#uploads progress");
    return bar && bar.value > 0 && bar.value < 1;
  });
  await page.locator("#uploads .chosen", { hasText: "path.jpg" }).getByRole("button").click();
  await page.locator("#uploads .refused", { hasText: "stopped" }).waitFor();
  await page.locator("#uploads .chosen", { hasText: "accepted" }).waitFor();
  await close();
});

test("every operation can be built, and mistakes stand at their fields", async () => {
  const { page, close } = await openPage(browser, server.url, { expected: [REFUSED] });
  await ready(page);
  const { operations } = await (await fetch(`${server.url}/v1/capabilities`)).json();
  await addAll(page, operations.map(({ name }) => name).filter((name) => name !== "resize"));
  const built = (await spec(page)).outputs[0].operations;
  assert.deepEqual(built.map(({ op }) => op), ["resize", ...operations.map(({ name }) => name).filter((name) => name !== "resize")]);
  await page.locator("#plan:not(.bad)", { hasText: "webp" }).waitFor();

  await page.getByRole("button", { name: "Move down: resize" }).click();
  assert.deepEqual((await spec(page)).outputs[0].operations.slice(0, 2).map(({ op }) => op), [built[1].op, "resize"]);
  assert.match(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), /^2\. resize/);
  const [, first, ...others] = built;
  await page.getByRole("button", { name: `Remove: ${first.op}` }).click();
  await removeAll(page, others.map(({ op }) => op));

  const width = page.getByLabel("Width");
  await width.fill("-3");
  await page.getByText("More output options").click();
  await page.getByLabel("Effort").fill("12");
  await page.locator('[aria-invalid="true"]').nth(1).waitFor();
  for (const field of [width, page.getByLabel("Effort")]) {
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    const described = (await field.getAttribute("aria-describedby")).split(" ");
    const words = await Promise.all(described.map((id) => page.locator(`#${id}`).textContent()));
    assert.ok(words.some((text) => /must be a whole number/.test(text)), words.join());
  }
  await screenshot(page, "mistakes");
  await width.fill("200");
  await page.getByLabel("Effort").fill("");
  await page.locator("#plan:not(.bad)", { hasText: "output" }).waitFor();
  assert.equal(await page.locator('[aria-invalid="true"]').count(), 0);
  await close();
});

test("the curl command does what the form does, attached images included", async () => {
  const { page, close } = await openPage(browser, server.url, { permissions: ["clipboard-read", "clipboard-write"], expected: [REFUSED] });
  await ready(page);
  await page.setInputFiles("#file", picture("leaf.jpg"));
  const adder = page.locator(".output .adder").first();
  for (const op of ["overlay", "text"]) {
    await adder.locator("select").selectOption(op);
    await adder.getByRole("button").click();
  }
  await page.locator('.operation input[type="file"]').setInputFiles(picture("ladybird.jpg"));
  await page.locator('textarea[id^="text-"]').fill("it's; a \"test\"");
  await page.locator('[data-act="add-output"]').click();
  await page.locator('[data-act="name-1"]').fill("thumb");
  // Images are processed after everything else on a busy machine: small ones, then.
  for (const width of await page.locator('input[id^="width-"]').all()) await width.fill("64");
  await page.getByText("The same as JSON and as a command").click();
  await page.click("#copy-curl");
  const command = await page.evaluate(() => navigator.clipboard.readText());
  const printed = execFileSync("bash", ["-c", `${command.replace("/v1/jobs'", "/v1/jobs?wait=30'")} -s`], { cwd: path.join(root, "tests/data"), encoding: "utf8" });
  const job = JSON.parse(printed);
  assert.equal(job.status, "succeeded", printed);
  assert.deepEqual(job.outputs.map(({ name }) => name), ["output", "thumb"]);
  assert.deepEqual(job.assets.map(({ name }) => name), ["ladybird"]);
  await page.click("#send");
  await page.locator("#jobs .job", { hasText: "thumb" }).nth(1).waitFor();
  await close();
});

test("presets, labels and analysis", async () => {
  const { page, close } = await openPage(browser, server.url);
  await ready(page);
  await page.selectOption("#preset", "avatar");
  await page.getByText("Find out about the image").click();
  await page.getByLabel("palette").check();
  await page.getByText("Webhook, labels, timing").click();
  await page.locator('input[id^="tag-"]').fill("faces");
  await page.getByLabel("Metadata").fill("user_id=42\nplan = pro");
  assert.deepEqual(await spec(page), { preset: "avatar", tag: "faces", analyze: ["palette"], metadata: { user_id: "42", plan: "pro" } });
  await page.setInputFiles("#file", picture("ladybird.jpg"));
  await page.click("#send");
  const row = page.locator("#jobs .job:has(.status.succeeded)", { hasText: "faces" });
  await row.locator(".job-link").click();
  await page.locator(".analysis .patch").first().waitFor();
  await page.locator(".pairs", { hasText: "pro" }).waitFor();
  await close();
});

test("cancel, retry, delete", async () => {
  const job = await submit(server.url, "width=40&run_at=2027-01-01T00:00:00Z&tag=verbs");
  const { page, close } = await openPage(browser, server.url);
  const row = page.locator(`#jobs .job[data-job="${job.id}"]`);
  await row.getByRole("button", { name: "Cancel" }).click();
  await row.locator(".status.cancelled").waitFor();
  await row.getByRole("button", { name: "Retry" }).click();
  await row.locator(".status.succeeded").waitFor();
  await row.getByRole("button", { name: "Delete" }).click();
  await row.getByRole("button", { name: "Really" }).click();
  await row.waitFor({ state: "detached" });
  assert.equal((await fetch(`${server.url}/v1/jobs/${job.id}`)).status, 410);
  await close();
});

test("a failed job says why", async () => {
  const broken = fs.readFileSync(path.join(root, "tests/golden/inputs/rgb16.png"));
  broken.fill(0x55, broken.length >> 1, (broken.length >> 1) + 64);
  const { id } = await submit(server.url, "width=40&format=png&wait=30", broken);
  const { page, close } = await openPage(browser, server.url, { expected: ["status of 404"] });
  const row = page.locator(`#jobs .job[data-job="${id}"]`);
  await row.locator(".reason", { hasText: "corrupt_image" }).waitFor();
  await row.locator(".reason a").click();
  await page.getByRole("heading", { name: "What to do" }).waitFor();
  await close();
});

test("by keyboard alone", async () => {
  const { page, close } = await openPage(browser, server.url);
  await ready(page);
  const reach = async (isThere, key = "Tab") => {
    for (let steps = 0; steps < 90; steps += 1) {
      await page.keyboard.press(key);
      const element = await page.evaluateHandle(() => document.activeElement);
      if (await element.evaluate(isThere)) return;
    }
    assert.fail(`never reached ${isThere}`);
  };
  // Asked for early: only from then on the browser hands its dialog over.
  const chosen = page.waitForEvent("filechooser");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await reach((element) => element.id === "file");
  await page.keyboard.press("Enter");
  await (await chosen).setFiles(picture("leaf.jpg"));
  await reach((element) => element.id.startsWith("width-"));
  await page.keyboard.press("Control+A");
  await page.keyboard.type("96");
  await reach((element) => element.id === "send");
  await page.keyboard.press("Enter");
  await page.locator("#jobs .job", { hasText: "webp 96×" }).locator(".status.succeeded").waitFor();
  await reach((element) => element.className === "job-link");
  await page.keyboard.press("Enter");
  await page.locator(".comparison").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "job-title");
  await reach((element) => element.type === "range");
  await page.keyboard.press("Home");
  assert.equal(await cut(page), "0%");
  await reach((element) => element.textContent === "Download");
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
  assert.ok(fs.statSync(await download.path()).size > 100);
  await close();
});

test("filter and pages", async () => {
  const tagged = await Promise.all(Array.from({ length: 25 }, () => submit(server.url, "width=8&tag=many&wait=30")));
  const { page, close } = await openPage(browser, server.url);
  await page.fill("#filter-tag", "many");
  await page.locator("#filter-tag").press("Tab");
  const ids = () => page.locator("#jobs .job").evaluateAll((rows) => rows.map((row) => row.dataset.job));
  const newest = tagged.map(({ id }) => id).sort().reverse();
  await page.waitForFunction(() => document.querySelectorAll("#jobs .job").length === 20 && [...document.querySelectorAll("#jobs .tag")].every((tag) => tag.textContent === "many"));
  assert.deepEqual(await ids(), newest.slice(0, 20));
  await page.click("#older");
  await page.waitForFunction(() => document.querySelectorAll("#jobs .job").length === 5);
  assert.deepEqual(await ids(), newest.slice(20));
  await page.click("#newer");
  await page.waitForFunction(() => document.querySelectorAll("#jobs .job").length === 20);
  await page.selectOption("#filter-status", "failed");
  await page.locator("#empty", { hasText: "No job matches" }).waitFor();
  await close();
});

test("without the stream of events the page polls", async () => {
  const { page, close } = await openPage(browser, server.url, {
    expected: ["ERR_FAILED"], prepare: (page) => page.route("**/v1/events", (route) => route.abort()),
  });
  const job = await submit(server.url, "width=24&tag=polled");
  await page.locator(`#jobs .job[data-job="${job.id}"] .status.succeeded`).waitFor();
  assert.equal(await page.textContent("#live"), "polling");
  await close();
});

test("a server that comes back is noticed", async () => {
  let isThere = false;
  const { page, close } = await openPage(browser, server.url, { expected: ["ERR_FAILED"], prepare: (page) => page.route("**/{v1/**,openapi.json}", (route) => (isThere ? route.continue() : route.abort())) });
  await page.locator("#live.off", { hasText: "no answer" }).waitFor();
  await page.locator("#list-trouble", { hasText: "The server does not answer." }).waitFor();
  await axe(page);
  await screenshot(page, "no-answer");
  isThere = true;
  await ready(page);
  await page.locator("#live.on").waitFor();
  assert.equal(await page.textContent("#list-trouble"), "");
  await close();
});

test("receivers that are in trouble can be called again", async (t) => {
  const received = [];
  let status = 410;
  const receiver = http.createServer((request, response) => {
    received.push(request.headers["webhook-id"]);
    request.resume().on("end", () => response.writeHead(status).end("no <b>thanks</b>"));
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    receiver.closeAllConnections();
    receiver.close();
  });
  const own = await startServer();
  t.after(() => own.stop());
  const origin = `http://127.0.0.1:${receiver.address().port}`;
  const { page, close } = await openPage(browser, own.url);
  await ready(page);
  assert.ok(!(await page.locator("#webhooks").isVisible()));
  await submit(own.url, `width=32&webhook=${encodeURIComponent("http://127.0.0.1:9/hook")}&wait=30`);
  for (let count = 0; count < 2; count += 1) await submit(own.url, `width=32&webhook=${encodeURIComponent(`${origin}/hook`)}&wait=30`);
  const panel = page.getByRole("region", { name: "Webhooks in trouble" });
  await panel.locator("#given-up li").nth(1).waitFor();
  await panel.locator("#receivers li", { hasText: "http://127.0.0.1:9" }).locator(".status", { hasText: "failing" }).waitFor({ timeout: 40_000 });
  await axe(page);
  await screenshot(page, "receivers");
  status = 200;
  await panel.getByRole("button", { name: /^Send again: job.succeeded/ }).first().click();
  await panel.locator("#given-up li").nth(1).waitFor({ state: "detached" });
  await panel.getByRole("button", { name: "Send all again" }).click();
  await panel.getByRole("button", { name: "Really" }).click();
  await panel.locator("#given-up li").first().waitFor({ state: "detached", timeout: 40_000 });
  assert.equal(new Set(received).size, 2, "the same two events");
  await close();
});

test("a disabled receiver is enabled from the page", async () => {
  const enabled = [];
  const prepare = async (page) => {
    // It takes five days of failures to disable one for real.
    await page.route("**/v1/receivers", (route) => route.fulfill({ json: { receivers: enabled.length > 0 ? [] : [{ receiver: "https://example.com", status: "disabled", failing_since: "2026-11-15T12:00:00Z", disabled_at: "2026-11-20T12:00:00Z", attempted_at: "2026-11-20T12:00:00Z" }] } }));
    page.on("request", (request) => { if (request.url().includes("/receivers/enable")) enabled.push(new URL(request.url()).searchParams.get("receiver")); });
  };
  const { page, close } = await openPage(browser, server.url, { prepare });
  const row = page.locator("#receivers li", { hasText: "disabled" });
  await screenshot(page, "receiver-disabled");
  await row.getByRole("button", { name: "Enable https://example.com" }).click();
  await row.waitFor({ state: "detached" });
  assert.deepEqual(enabled, ["https://example.com"]);
  await close();
});

test("what clients send is text", async () => {
  const markup = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;
  const form = new FormData();
  form.append("job", JSON.stringify({ outputs: [{ operations: [{ op: "resize", width: 32 }] }], tag: markup, metadata: { [markup]: markup } }));
  form.append("file", new Blob([fs.readFileSync(picture("leaf.jpg"))]), `${markup}.jpg`);
  const { id } = await (await fetch(`${server.url}/v1/jobs?wait=30`, { method: "POST", body: form })).json();
  const { page, close } = await openPage(browser, `${server.url}/#/jobs/${id}`);
  await page.locator(".pairs", { hasText: "onerror" }).waitFor();
  await page.goto(`${server.url}/#/`);
  await ready(page);
  await page.setInputFiles("#file", { name: `${markup}.jpg`, mimeType: "image/jpeg", buffer: fs.readFileSync(picture("leaf.jpg")) });
  await page.locator("#chosen", { hasText: "onerror" }).waitFor();
  assert.equal(await page.locator("img[src=x], main script").count(), 0);
  const refused = await page.evaluate(() => {
    try {
      document.createElement("p").innerHTML = "<b>x</b>";
      return false;
    } catch {
      return true;
    }
  });
  assert.ok(refused, "the policy lets scripts write HTML");
  await page.context().close();
  await close().catch((trouble) => assert.match(trouble.message, /TrustedHTML/));
});

test("the webhook's log, and sending again", async () => {
  const received = [];
  const receiver = http.createServer((request, response) => {
    received.push(request.headers["webhook-id"]);
    request.resume().on("end", () => response.writeHead(received.length > 1 ? 200 : 410).end("<b>no, thanks</b>"));
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const hook = encodeURIComponent(`http://127.0.0.1:${receiver.address().port}/hook`);
  const { id } = await submit(server.url, `width=32&webhook=${hook}&wait=30`);
  const { page, close } = await openPage(browser, `${server.url}/#/jobs/${id}`);
  const log = page.getByRole("region", { name: "Delivery log" });
  await log.locator("tr", { hasText: "410" }).waitFor();
  await log.getByText("answer", { exact: true }).click();
  assert.equal(await log.locator("pre").textContent(), "<b>no, thanks</b>");
  await axe(page);
  await screenshot(page, "deliveries");
  await page.getByRole("button", { name: "Send again" }).click();
  await log.locator("tr", { hasText: "200" }).waitFor();
  assert.equal(received.length, 2);
  assert.equal(received[0], received[1]);
  receiver.closeAllConnections();
  receiver.close();
  await close();
});

test("the queue is drawn", async () => {
  const { page, close } = await openPage(browser, server.url);
  await page.waitForFunction(() => /L/.test(document.querySelector(".chart.throughput .line")?.getAttribute("d") ?? ""));
  const stats = await (await fetch(`${server.url}/v1/stats`)).json();
  assert.equal(await page.locator(".chart.workers strong").textContent(), `0/${stats.workers.total}`);
  assert.match(await page.locator(".chart.throughput svg").getAttribute("aria-label"), /^Throughput: \d+\/min/);
  assert.match(await page.locator("#totals").textContent(), new RegExp(`${stats.jobs.succeeded} succeeded`));
  await close();
});
