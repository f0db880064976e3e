// The dashboard of a server that asks for API keys: where the key goes, who may see what, what keys use.

import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, test } from "node:test";
import { axe, openPage, picture, ready, screenshot, startBrowser, startServer, submit } from "./stage.mjs";

let browser;
before(async () => {
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
});

test("a server that asks for a key is given it, everywhere", async (t) => {
  const locked = await startServer({ keys: { page: ["submit,read"], reader: ["read"] } });
  const { page: token, reader } = locked.tokens;
  t.after(() => locked.stop());
  const job = await submit(locked.url, "width=48&tag=locked&wait=30", undefined, token);
  const shown = { stream: false, image: 0 };
  const watch = (page) => page.on("request", (request) => {
    if (request.headers().authorization !== `Bearer ${token}`) return;
    if (request.url().endsWith("/v1/events")) shown.stream = true;
    if (/\/(outputs|source)/.test(request.url())) shown.image += 1;
  });
  const { page, close } = await openPage(browser, locked.url, { expected: ["status of 401", "status of 403"], prepare: watch });
  await page.getByLabel("API key", { exact: true }).fill("wrong");
  await page.getByRole("button", { name: "Use it" }).click();
  await page.locator("#key-wrong:not([hidden])").waitFor();
  await axe(page);
  await screenshot(page, "key-wrong");
  await page.getByLabel("API key", { exact: true }).fill(token);
  await page.keyboard.press("Enter");
  await ready(page);
  await page.locator("#live.on").waitFor();
  await page.waitForFunction((id) => document.querySelector(`[data-job="${id}"] img`)?.src.startsWith("blob:"), job.id);
  await page.setInputFiles("#file", picture("leaf.jpg"));
  await page.getByText("The same as JSON and as a command").click();
  const command = await page.textContent("#preview-curl");
  assert.ok(command.includes("$MINILAB_API_KEY") && !command.includes(token), command);
  await page.click("#send");
  await page.locator("#jobs .job:has(.status.succeeded)", { hasText: "webp 800×" }).first().locator(".job-link").click();
  await page.locator(".compare.both .before[src^='blob:']").waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator(".result .button").click()]);
  assert.match(download.suggestedFilename(), /\.webp$/);
  assert.ok(fs.statSync(await download.path()).size > 100);
  assert.ok(shown.stream && shown.image > 1, JSON.stringify(shown));
  assert.equal(await page.evaluate(() => sessionStorage.getItem("minilab.key")), token);
  assert.equal(await page.evaluate(() => localStorage.length), 0);
  assert.ok(!(await page.locator("#webhooks").isVisible()), "what is the operator's is not shown to others");
  await page.getByRole("link", { name: "All jobs" }).click();
  await page.getByRole("button", { name: "Forget the key" }).click();
  await page.getByLabel("API key", { exact: true }).fill(reader);
  await page.keyboard.press("Enter");
  await ready(page);
  await page.setInputFiles("#file", picture("leaf.jpg"));
  await page.locator("#plan.bad", { hasText: "scope `submit`" }).waitFor();
  await close();
});

test("who would not give a key is asked once, and can give it later", async (t) => {
  const locked = await startServer({ keys: { page: ["submit,read"] } });
  t.after(() => locked.stop());
  const { page, close } = await openPage(browser, locked.url, { expected: ["status of 401"] });
  await page.getByRole("button", { name: "Not now" }).click();
  const refused = () => page.waitForResponse((answer) => answer.url().endsWith("/v1/stats") && answer.status() === 401);
  await refused();
  await refused();
  assert.ok(!(await page.locator("#key-dialog").isVisible()), "asked again");
  assert.notEqual(await page.textContent("#live"), "no answer");
  await page.getByRole("button", { name: "Enter a key" }).click();
  await page.getByLabel("API key", { exact: true }).fill(locked.tokens.page);
  await page.keyboard.press("Enter");
  await ready(page);
  await page.locator("#live.on").waitFor();
  await close();
});

/** What the table says of each key, cell by cell, without what counts on by itself. */
const rowsOf = (page) => page.locator("#usage-rows tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => [...cell.children].map((part) => part.textContent).filter(Boolean).join(" | ") || cell.textContent)));

/** The same, as a sample of `/v1/stats` has it. */
const rowsIn = (stats) => stats.keys.map((key) => [
  `${key.name} | ${key.scopes.join(", ")}${key.weight === 1 ? "" : `, weight ${key.weight}`}`,
  `${key.queued} of ${key.queue_places}`,
  String(key.running),
  String(key.finished_last_minute),
  stats.worker_seconds_last_minute > 0 ? `${Math.round((key.worker_seconds_last_minute / stats.worker_seconds_last_minute) * 100)} %` : "–",
  key.requests_per_minute ? `${key.requests_last_minute} of ${key.requests_per_minute}` : String(key.requests_last_minute),
]);

/** Opens the page with a key; gives a sample of `/v1/stats` that the table agrees with. The next sample may be drawn first: then that one. */
async function usage(address, token) {
  const prepare = (page) => page.addInitScript((key) => sessionStorage.setItem("minilab.key", key), token);
  const { page, close } = await openPage(browser, address, { prepare });
  let drawn;
  for (let samples = 0; samples < 5; samples += 1) {
    const stats = await (await page.waitForResponse((answer) => answer.url().endsWith("/v1/stats"))).json();
    const expected = rowsIn(stats);
    for (const until = Date.now() + 1000; Date.now() < until;) {
      drawn = (await rowsOf(page)).map((cells) => cells.slice(0, 6).map((cell, column) => (column === 4 ? cell.split(" | ").at(-1) : cell)));
      if (JSON.stringify(drawn) === JSON.stringify(expected)) return { page, close, stats };
    }
  }
  return assert.fail(`the table never said what a sample did: ${JSON.stringify(drawn)}`);
}

test("what keys use is shown as the server counts it", async (t) => {
  const locked = await startServer({ keys: { shop: ["submit,read", "--weight", "3", "--requests-per-minute", "600", "--queue-share", "20%"], boss: ["submit,read,admin"] } });
  t.after(() => locked.stop());
  const { shop, boss } = locked.tokens;
  for (let count = 0; count < 3; count += 1) await submit(locked.url, "width=24&wait=30", undefined, shop);
  await submit(locked.url, "width=24&run_at=2027-01-01T00:00:00Z", undefined, shop);
  await submit(locked.url, "width=24&wait=30", undefined, boss);

  const all = await usage(locked.url, boss);
  const of = (name) => all.stats.keys.find((key) => key.name === name);
  assert.deepEqual([of("shop").queued, of("shop").finished_last_minute, of("boss").finished_last_minute], [1, 3, 1]);
  assert.ok(of("shop").worker_seconds_last_minute > 0 && of("boss").worker_seconds_last_minute > 0, JSON.stringify(all.stats));
  // What each has sent above, and of the page at least the question that is answered here.
  assert.ok(of("shop").requests_last_minute >= 4 && of("boss").requests_last_minute >= 2, JSON.stringify(all.stats));
  const region = all.page.getByRole("region", { name: "API keys", exact: true });
  assert.equal(await region.locator('tr:has-text("shop") time').count(), 1);
  await axe(all.page);
  await screenshot(all.page, "keys");
  await all.close();

  const own = await usage(locked.url, shop);
  assert.deepEqual(own.stats.keys.map(({ name }) => name), ["shop"]);
  assert.ok(await own.page.getByRole("region", { name: "This key" }).isVisible());
  assert.ok(!(await own.page.locator("#webhooks").isVisible()), "what is the operator's is not shown to others");
  await own.close();
});
