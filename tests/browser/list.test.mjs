// The list of jobs while many come and go: what is read stays, what leaves is made up for, and pages go on from what is shown.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { listed, openPage, startBrowser, startServer, submit } from "./stage.mjs";

const LATER = "width=8&run_at=2027-01-01T00:00:00Z";
const PAGE = 20;

let server;
let browser;
/** Every job, newest first. */
let all = [];
before(async () => {
  server = await startServer();
  browser = await startBrowser();
  await submitMany(2 * PAGE + 5);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

async function submitMany(count) {
  const jobs = await Promise.all(Array.from({ length: count }, () => submit(server.url, LATER)));
  all = [...jobs.map(({ id }) => id), ...all].sort().reverse();
}

const ids = (page) => page.locator("#jobs .job").evaluateAll((rows) => rows.map((row) => row.dataset.job));

/** Waits until the page shows these jobs, in this order. */
async function shows(page, expected) {
  await page.waitForFunction((wanted) => [...document.querySelectorAll("#jobs .job")].map((row) => row.dataset.job).join() === wanted, expected.join())
    .catch(async () => assert.deepEqual(await ids(page), expected));
}

test("what is pointed at stays while jobs come, and the next page goes on from there", async () => {
  const { page, close } = await openPage(browser, server.url);
  await page.locator("#live.on").waitFor();
  const read = all.slice(0, PAGE);
  await shows(page, read);
  await listed(page, "queued", 2).hover();
  await submitMany(30);
  await page.locator("#waiting", { hasText: /^30 new jobs$/ }).waitFor();
  assert.deepEqual(await ids(page), read);
  await page.click("#older");
  await shows(page, all.slice(30 + PAGE, 30 + 2 * PAGE));
  await page.click("#newer");
  await shows(page, all.slice(0, PAGE));

  await listed(page, "queued", 2).hover();
  await submitMany(1);
  await page.getByRole("button", { name: "1 new job", exact: true }).click();
  await shows(page, all.slice(0, PAGE));
  assert.ok(!(await page.locator("#waiting").isVisible()));
  assert.equal(await page.evaluate(() => document.activeElement.id), "jobs-title");

  // Nobody reads any more: what waits is shown by itself.
  await listed(page, "queued", 2).hover();
  await submitMany(2);
  await page.locator("#waiting", { hasText: "2 new jobs" }).waitFor();
  await page.evaluate(() => scrollTo(0, 0));
  await page.mouse.move(1, 1);
  await shows(page, all.slice(0, PAGE));
  await close();
});

test("lines that leave are made up for", async () => {
  const { page, close } = await openPage(browser, server.url);
  await page.locator("#live.on").waitFor();
  await page.selectOption("#filter-status", "queued");
  await shows(page, all.slice(0, PAGE));
  const [first, , third] = all;
  for (const id of [first, third]) await fetch(`${server.url}/v1/jobs/${id}/cancel`, { method: "POST" });
  all = all.filter((id) => id !== first && id !== third);
  await shows(page, all.slice(0, PAGE));
  await page.click("#older");
  await shows(page, all.slice(PAGE, 2 * PAGE));
  await fetch(`${server.url}/v1/jobs/${all[PAGE]}`, { method: "DELETE" });
  all.splice(PAGE, 1);
  await page.click("#newer");
  await shows(page, all.slice(0, PAGE));
  await close();
});

test("of a burst of news only what stays is drawn", async () => {
  const job = await (await fetch(`${server.url}/v1/jobs/${all[0]}`)).json();
  const burst = Array.from({ length: 300 }, (_, number) => ({ ...job, id: `ffffffff-0000-7000-8000-${String(number).padStart(12, "0")}` }));
  const prepare = async (page) => {
    await page.route("**/v1/events", async (route) => {
      await page.locator("#jobs .job").nth(PAGE - 1).waitFor();
      await route.fulfill({ contentType: "text/event-stream", body: burst.map((each) => `event: job\ndata: ${JSON.stringify(each)}\n\n`).join("") });
    }, { times: 1 });
    await page.addInitScript(() => {
      globalThis.drawn = [];
      const watch = () => new MutationObserver((changes) => {
        for (const { addedNodes } of changes) for (const { dataset } of addedNodes) if (dataset?.job?.startsWith("ffffffff")) globalThis.drawn.push(dataset.job);
      }).observe(document.getElementById("jobs"), { childList: true });
      addEventListener("DOMContentLoaded", watch);
    });
  };
  const { page, close } = await openPage(browser, server.url, { prepare });
  const newest = burst.map(({ id }) => id).reverse().slice(0, PAGE);
  await page.locator(`#jobs [data-job="${newest[0]}"]`).waitFor();
  const drawn = await page.evaluate(() => globalThis.drawn);
  assert.deepEqual(drawn.sort().reverse(), newest);
  await close();
});

test("places in line move up while nothing else happens", async () => {
  let place = 7;
  const prepare = async (page) => {
    await page.clock.install();
    await page.route("**/v1/jobs?limit=*", async (route) => {
      const { jobs } = await (await route.fetch()).json();
      await route.fulfill({ json: { jobs: jobs.slice(0, 1).map((job) => ({ ...job, status: "queued", run_at: job.created_at, queue_position: place })) } });
    });
  };
  const { page, close } = await openPage(browser, server.url, { prepare });
  const row = page.locator("#jobs .job").first();
  await row.getByText("7. in line").waitFor();
  place = 4;
  await page.clock.fastForward(11_000);
  await row.getByText("4. in line").waitFor();
  await close();
});
