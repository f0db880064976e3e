// What every browser test stands on: the real program on a free port in a directory of its own, Chromium, pages that report every error.
// Called by the *.test.mjs files; `.ci/tools` installs the modules.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const modules = path.resolve(process.env.BROWSER_MODULES ?? path.join(root, "target/tools"));
const require = createRequire(path.join(modules, "stage.cjs"));
const { chromium } = require("playwright-core");
const axeSource = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const picture = (name) => path.join(root, "tests/data", name);

/** For anything that a page does; most of it takes milliseconds. */
const TIMEOUT_MS = 45_000;

const SETTINGS = `
[presets.avatar]
outputs = [{ name = "avatar", operations = [{ op = "resize", width = 64, height = 64, fit = "cover" }], format = "webp" }]
[assets]
logo = "${path.join(root, "tests/golden/inputs/logo.png")}"
`;

/** Starts the program; `url` is where it listens. `keys` (`{NAME: [SCOPES, MORE ARGUMENTS]}`) are made first; their tokens are in `tokens`. */
export async function startServer({ keys = {} } = {}) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "minilab-browser-"));
  fs.writeFileSync(path.join(directory, "minilab.toml"), SETTINGS);
  const program = path.resolve(process.env.MINILAB ?? path.join(root, "target/release/minilab"));
  const data = path.join(directory, "data");
  const tokens = Object.fromEntries(Object.entries(keys).map(([name, [scopes, ...more]]) => {
    const said = execFileSync(program, ["keys", "add", name, "--scopes", scopes, ...more, "--data-dir", data], { cwd: directory, encoding: "utf8" });
    return [name, /mlk_\S+/.exec(said)[0]];
  }));
  const child = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--data-dir", data, "--config", "minilab.toml", "--allow-private-network", "127.0.0.0/8"], { cwd: directory, stdio: ["ignore", "pipe", "inherit"] });
  const url = await new Promise((resolve, reject) => {
    let said = "";
    child.on("exit", (code) => reject(new Error(`the server ended with ${code}: ${said}`)));
    child.stdout.on("data", (bytes) => {
      said += bytes;
      const found = /listening on (http:\/\/\S+)/.exec(said);
      if (found) resolve(found[1]);
    });
  });
  child.removeAllListeners("exit");
  return {
    url,
    directory,
    tokens,
    async stop() {
      const ended = new Promise((resolve) => child.on("exit", resolve));
      child.kill("SIGTERM");
      await ended;
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Chromium of the system. */
export const startBrowser = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });

/** A page that fails its test on any script error, refused resource or line in the console. Answers that tests provoke are named in `expected`. */
export async function openPage(browser, address, { expected = [], prepare = async () => {}, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(TIMEOUT_MS);
  const page = await context.newPage();
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(`script: ${error.message}`));
  page.on("dialog", (dialog) => troubles.push(`dialog: ${dialog.message()}`));
  page.on("console", (line) => {
    if (["error", "warning"].includes(line.type()) && !expected.some((words) => line.text().includes(words))) troubles.push(`console: ${line.text()}`);
  });
  await prepare(page);
  await page.goto(address);
  return {
    page,
    async close() {
      await context.close();
      assert.deepEqual(troubles, []);
    },
  };
}

/** Waits until the form is made. */
export const ready = (page) => page.waitForSelector("#builder .output");

/** A job's line in the list once it stands like this. */
export const listed = (page, status, index = 0) => page.locator(`#jobs .job:has(.status.${status})`).nth(index);

/** Runs axe: every rule, or those of one kind (`cat.color`). What it finds is told by rule and place. */
export async function axe(page, kind = null) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async (tag) => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"], ...(tag ? { runOnly: [tag] } : {}) });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join(" | ")}`);
  }, kind);
  assert.deepEqual(found, []);
}

/** Keeps a picture of the page for people to look at. */
export async function screenshot(page, name) {
  const folder = path.join(root, "target/browser/screenshots");
  fs.mkdirSync(folder, { recursive: true });
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
}

/** Submits by the API, with a key where one is needed; gives the job. */
export async function submit(url, query, bytes = fs.readFileSync(picture("leaf.jpg")), token = null) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`${url}/v1/jobs?${query}`, { method: "POST", body: bytes, headers });
  assert.ok(answer.ok, await answer.clone().text());
  return answer.json();
}
