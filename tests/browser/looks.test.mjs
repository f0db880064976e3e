// Every page by the rules of axe, in light and dark, wide and narrow; the reference with and without scripts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { axe, openPage, picture, ready, screenshot, startBrowser, startServer, submit } from "./stage.mjs";

let server;
let browser;
let job;
before(async () => {
  server = await startServer();
  browser = await startBrowser();
  await submit(server.url, "width=400&tag=looks&wait=30");
  await submit(server.url, "width=400&run_at=2027-01-01T00:00:00Z");
  job = await submit(server.url, "width=640&format=png&quality=70&analyze=palette,info,blurhash&webhook=http://127.0.0.1:9/hook&wait=30");
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const WIDTHS = { wide: 1280, narrow: 390 };

for (const colorScheme of ["light", "dark"]) {
  for (const [name, width] of Object.entries(WIDTHS)) {
    test(`no violation: ${colorScheme}, ${name}`, async () => {
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
      await axe(page);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `the page is ${overflow} px too wide`);
      await screenshot(page, `home-${colorScheme}-${name}`);

      await page.goto(`${server.url}/#/jobs/${job.id}`);
      await page.locator(".comparison").waitFor();
      await page.getByText("The job as JSON").click();
      await axe(page);
      await screenshot(page, `job-${colorScheme}-${name}`);
      for (const path of ["/docs", "/problems/invalid_spec"]) {
        await page.goto(server.url + path);
        await axe(page);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth), path);
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
