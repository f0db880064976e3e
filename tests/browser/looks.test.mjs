// Every page by the rules of axe, in light and dark, wide and narrow; the reference with and without scripts.

import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, test } from "node:test";
import { axe, openPage, picture, ready, screenshot, startBrowser, startServer, submit } from "./stage.mjs";

let server;
let browser;
let job;
let wordy;
before(async () => {
  server = await startServer();
  browser = await startBrowser();
  await submit(server.url, "width=400&tag=looks&wait=30");
  await submit(server.url, "width=400&run_at=2027-01-01T00:00:00Z");
  job = await submit(server.url, "width=640&format=png&quality=70&analyze=palette,info,blurhash&webhook=http://127.0.0.1:9/hook&wait=30");
  wordy = await submitWordy();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A job whose every name is as long as it may be. */
async function submitWordy() {
  const spec = { outputs: [{ name: "n".repeat(64), operations: [{ op: "resize", width: 40 }], format: "webp" }, { name: "tiff", format: "tiff" }], tag: "T".repeat(128), metadata: { ["k".repeat(60)]: "v".repeat(600) }, webhook: { url: `http://127.0.0.1:9/${"hook".repeat(80)}` } };
  const form = new FormData();
  form.append("job", JSON.stringify(spec));
  form.append("file", new Blob([fs.readFileSync(picture("leaf.jpg"))]), "leaf.jpg");
  return (await fetch(`${server.url}/v1/jobs?wait=30`, { method: "POST", body: form })).json();
}

/** Fails where people would have to scroll sideways. */
async function fits(page, what) {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(overflow <= 0, `${what} is ${overflow} px too wide`);
}

const WIDTHS = { wide: 1280, narrow: 390 };

for (const colorScheme of ["light", "dark"]) {
  for (const [name, width] of Object.entries(WIDTHS)) {
    test(`no violation: ${colorScheme}, ${name}`, async () => {
      // In the dark nothing but colours is another: what else there is was judged in the light, at the same width.
      const rules = colorScheme === "dark" ? "cat.color" : null;
      const options = { colorScheme, viewport: { width, height: 900 }, expected: ["status of 422", "status of 404"] };
      const { page, close } = await openPage(browser, server.url, options);
      await ready(page);
      await page.setInputFiles("#file", picture("ladybird.jpg"));
      const adder = page.locator(".output .adder").first();
      for (const op of ["blur", "overlay", "text", "adjust"]) {
        await adder.locator("select").selectOption(op);
        await adder.getByRole("button").click();
      }
      await page.getByRole("button", { name: "Only in a region" }).click();
      await page.locator('input[id^="quality-"]').fill("101");
      await page.locator('[aria-invalid="true"]').waitFor();
      for (const summary of await page.locator("#home summary:visible").all()) await summary.click();
      await page.locator("#jobs img").first().waitFor();
      // The message of a moment ago fades: half of it is no colour that anybody reads.
      await page.locator("#message").evaluate((place) => { place.textContent = ""; });
      await axe(page, rules);
      await fits(page, "the page");
      await screenshot(page, `home-${colorScheme}-${name}`);

      await page.goto(`${server.url}/#/jobs/${job.id}`);
      await page.locator(".comparison").waitFor();
      await page.getByText("The job as JSON").click();
      await axe(page, rules);
      await fits(page, "a job");
      await screenshot(page, `job-${colorScheme}-${name}`);
      await page.goto(`${server.url}/#/jobs/${wordy.id}`);
      await page.locator(".delivery-log tr").nth(1).waitFor();
      await axe(page, rules);
      await fits(page, "a job of long names");
      await screenshot(page, `wordy-${colorScheme}-${name}`);
      for (const path of ["/docs", "/problems/invalid_spec"]) {
        await page.goto(server.url + path);
        await axe(page, rules);
        await fits(page, path);
      }
      await close();
    });
  }
}

test("the reference can be searched, and read without scripts", async () => {
  const { page, close } = await openPage(browser, `${server.url}/docs`);
  await page.keyboard.press("/");
  await page.keyboard.type("redeliver max_bytes".split(" ")[1]);
  await page.locator("#found", { hasText: / of \d+ entries/ }).waitFor();
  assert.ok(await page.locator("#submitJob").isVisible());
  assert.ok(!(await page.locator("#getLive").isVisible()));
  await close();
  const plain = await openPage(browser, `${server.url}/docs`, { javaScriptEnabled: false });
  assert.ok(await plain.page.locator("#submitJob").isVisible());
  assert.ok(!(await plain.page.locator("#search").isVisible()));
  await plain.close();
});
