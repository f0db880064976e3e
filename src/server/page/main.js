// The dashboard: puts its parts together, follows the feed of jobs, and opens what the address names.
// Owns no part's content. Speaks to the server by the public API alone.

import * as api from "./api.js";
import * as charts from "./charts.js";
import * as key from "./key.js";
import { Builder } from "./builder.js";
import { JobView } from "./job.js";
import { List } from "./list.js";
import { Receivers } from "./receivers.js";
import { Submit } from "./submit.js";
import { Usage } from "./usage.js";
import { byId, say, shortId } from "./dom.js";

const POLL_MS = 2_000;

/** Names of the images that were sent from here and whose jobs have not ended. */
const mine = new Map();
const list = new List({ onGone: gone });
const view = new JobView({ onJob: take, onGone: gone });
const receivers = new Receivers();
const usage = new Usage();

/** News of a job, from wherever it comes. */
function take(job) {
  list.take(job);
  view.take(job);
  const name = mine.get(job.id);
  if (name && job.finished_at) {
    mine.delete(job.id);
    say(`${name}: ${job.status}.`, job.status === "failed");
  }
}

function gone(id) {
  list.remove(id);
  if (view.id === id) location.hash = "#/";
}

/** Shows what the address names: `#/jobs/ID`, else everything. */
function route() {
  const [, id] = /^#\/jobs\/([0-9a-f-]{36})$/.exec(location.hash) ?? [];
  const wasOpen = !byId("job-view").hidden;
  byId("job-view").hidden = !id;
  byId("home").hidden = Boolean(id);
  document.title = id ? `Job ${shortId(id)} · Minilab` : "Minilab";
  if (id) view.open(id);
  else {
    view.close();
    if (wasOpen) byId("jobs-title").focus();
  }
  scrollTo(0, 0);
}

/** How news comes: pushed, asked for, or not at all. */
let isLive = false;
let isSilent = false;
function showState() {
  const word = isSilent ? "no answer" : isLive ? "live" : "polling";
  const place = byId("live");
  if (place.textContent !== word) place.textContent = word;
  place.classList.toggle("on", word === "live");
  place.classList.toggle("off", isSilent);
}

function follow() {
  let isFirst = true;
  api.follow("/v1/events", {
    onEvent(name, data) {
      if (name === "job") take(data);
      else if (name === "reset") refresh();
    },
    onState(now) {
      isLive = now;
      showState();
      // What happened while nobody listened is in the list.
      if (now && !isFirst) refresh();
      isFirst = false;
    },
  });
  const poll = async () => {
    if (!isLive && !document.hidden) await refresh();
    setTimeout(poll, POLL_MS);
  };
  setTimeout(poll, POLL_MS);
}

async function refresh() {
  await list.load({ isQuiet: true });
  if (!view.id) return;
  try {
    take(await api.json(`/v1/jobs/${view.id}`));
  } catch {
    // Said by the list already, or the job is gone: then its page stays as it was.
  }
}

async function build() {
  const [capabilities, openapi] = await Promise.all([api.json("/v1/capabilities"), api.json("/openapi.json")]);
  let submit = null;
  const builder = new Builder({
    root: byId("builder"), presetSelect: byId("preset"), capabilities, jobSchema: openapi.components.schemas.JobSpec,
    changed: () => submit?.update(),
  });
  submit = new Submit({
    builder,
    onJob(job, name) {
      mine.set(job.id, name);
      take(job);
    },
  });
  byId("limits").textContent = `Up to ${Math.floor(capabilities.limits.body_bytes_max / 1_048_576)} MiB and ${Math.round(capabilities.limits.pixels_max / 1e6)} megapixels each.`;
}

/** Makes the form as soon as the server tells what it can do. */
async function buildSoon(said = null) {
  try {
    await build();
  } catch (problem) {
    if (problem.message !== said) say(`The form can't be made yet: ${problem.message}`, true);
    setTimeout(() => buildSoon(problem.message), POLL_MS);
  }
}

key.start();
addEventListener("hashchange", route);
route();
buildSoon();
list.load();
follow();
charts.start({
  onStats(stats) {
    isSilent = stats === null;
    showState();
    if (isSilent) return;
    receivers.take(stats);
    usage.take(stats);
  },
});
