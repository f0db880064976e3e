// One job's own page: results with before and after, where the time went, attempts, analysis, warnings, webhook.
// Owns what is shown while its address is open; is told news of jobs by `main.js`.

import * as api from "./api.js";
import { actionButtons } from "./actions.js";
import { Deliveries } from "./deliveries.js";
import { sourceOf, stagesOf, statusOf } from "./row.js";
import { compare, isShowable } from "./pictures.js";
import { byId, duration, h, saved, say, shortId, size, timeOf } from "./dom.js";

/** The key goes with a download only through `fetch`; without one the browser does it all. */
function downloadLink(output, name, text = "Download") {
  const link = h("a", { href: output.url, download: "", class: "button small", "data-act": `download ${output.name}`, "aria-label": `Download ${name}`, text });
  link.addEventListener("click", async (event) => {
    if (!api.key()) return;
    event.preventDefault();
    try {
      const answer = await api.request(output.url);
      const given = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "");
      const address = URL.createObjectURL(await answer.blob());
      h("a", { href: address, download: given ? given[1] : output.name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    } catch (problem) {
      say(problem.message, true);
    }
  });
  return link;
}

/** Stages as parts of a bar, and as a list that says the same in words. */
export function timeline(timings) {
  const stages = stagesOf(timings);
  const all = stages.reduce((sum, [, ms]) => sum + ms, 0);
  if (all === 0) return null;
  const bar = h("div", { class: "timeline", "aria-hidden": "true" }, stages.map(([name, ms]) => {
    const part = h("span", { class: `stage ${name}` });
    part.style.flexGrow = String(ms);
    return part;
  }));
  const words = h("ul", { class: "stages" }, stages.map(([name, ms]) => h("li", {}, h("span", { class: `swatch ${name}`, "aria-hidden": "true" }), `${name} `, h("strong", { text: duration(ms) }))));
  return h("section", {}, h("h3", { text: `Where the time went: ${duration(all)}` }), bar, words);
}

function table(caption, heads, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "visually-hidden", text: caption }), h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col", text: head })))), h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell)))))));
}

const code = (name) => h("a", { href: `/problems/${encodeURIComponent(name)}`, text: name });

function attempts(job) {
  if (job.attempts.length === 0 || (job.attempts.length === 1 && job.status === "succeeded")) return null;
  const rows = job.attempts.map((attempt) => [String(attempt.number), h("span", { class: `status ${attempt.status}`, text: attempt.status }), timeOf(attempt.started_at), attempt.duration_ms === null ? "" : duration(attempt.duration_ms), attempt.error ? [code(attempt.error.code), ` ${attempt.error.detail}`] : ""]);
  return h("section", {}, h("h3", { text: "Attempts" }), table("Attempts", ["#", "Status", "Began", "Took", "What went wrong"], rows));
}

const isPlain = (value) => value === null || typeof value !== "object";

/** Names and what they stand for, side by side. */
const pairs = (entries) => h("dl", { class: "pairs" }, entries.map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value))));

/** A colour as a patch beside its name, a flat record as pairs, anything else as JSON. */
function factOf(value) {
  const colors = (Array.isArray(value) ? value : [value]).map((item) => item?.color ?? item);
  if (colors.length > 0 && colors.every((color) => /^#[0-9a-f]{6}([0-9a-f]{2})?$/i.test(color))) {
    return colors.map((color) => {
      const patch = h("span", { class: "patch", "aria-hidden": "true" });
      patch.style.backgroundColor = color;
      return h("span", { class: "color" }, patch, h("code", { text: color }));
    });
  }
  if (isPlain(value)) return h("code", { text: String(value) });
  if (!Array.isArray(value) && Object.values(value).every(isPlain)) return pairs(Object.entries(value).map(([name, fact]) => [name, String(fact)]));
  return h("pre", { tabindex: "0", text: JSON.stringify(value, null, 1) });
}

function analysis(job) {
  const facts = Object.entries(job.analysis ?? {});
  if (facts.length === 0) return null;
  return h("section", {}, h("h3", { text: "Found out" }), h("dl", { class: "analysis" }, facts.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", {}, factOf(value))])));
}

export class JobView {
  constructor({ onJob, onGone }) {
    this.onJob = onJob;
    this.onGone = onGone;
    this.id = null;
    this.job = null;
    this.pictures = [];
    this.drawnOutputs = null;
  }

  /** Opens a job's page. */
  async open(id) {
    this.close();
    this.id = id;
    byId("job-title").textContent = `Job ${shortId(id)}`;
    byId("job-body").replaceChildren(h("p", { class: "soft", text: "Loading…" }));
    byId("job-title").focus();
    try {
      const job = await api.json(`/v1/jobs/${encodeURIComponent(id)}`);
      if (this.id === id) this.take(job);
    } catch (problem) {
      if (this.id === id) byId("job-body").replaceChildren(h("p", { class: "bad", text: problem.message }));
    }
  }

  close() {
    this.id = null;
    this.job = null;
    this.deliveries = null;
    this.releasePictures();
  }

  releasePictures() {
    for (const picture of this.pictures) picture.release();
    this.pictures = [];
    this.drawnOutputs = null;
    this.results = null;
  }

  /** News of a job, if it is this one. */
  take(job) {
    if (job.id !== this.id || (this.job && this.job.version > job.version)) return;
    this.job = job;
    const body = byId("job-body");
    const act = body.contains(document.activeElement) ? document.activeElement.getAttribute("data-act") : null;
    // Results are drawn once: a slider must not jump because a webhook was delivered.
    const outputs = JSON.stringify(job.outputs);
    if (outputs !== this.drawnOutputs) {
      this.releasePictures();
      this.drawnOutputs = outputs;
      this.results = this.drawResults(job);
    }
    const folded = body.querySelector("#raw")?.open ?? false;
    body.replaceChildren(...[this.head(job), this.trouble(job), this.results, timeline(job.timings_ms), analysis(job), attempts(job), this.webhook(job), this.raw(job, folded)].filter(Boolean));
    if (act) (body.querySelector(`[data-act="${CSS.escape(act)}"]`) ?? byId("job-title")).focus();
  }

  head(job) {
    const facts = [
      ["Source", sourceOf(job)],
      ["Submitted", timeOf(job.created_at)],
      job.finished_at ? ["Ended", timeOf(job.finished_at)] : null,
      job.expires_at ? ["Removed after", timeOf(job.expires_at)] : null,
      job.tag ? ["Tag", job.tag] : null,
      ...Object.entries(job.metadata ?? {}).map(([name, value]) => [name, value]),
    ].filter(Boolean);
    const hasSource = Boolean(job.source);
    return h("div", { class: "job-top" },
      h("p", { class: "job-status" }, statusOf(job)),
      pairs(facts),
      h("div", { class: "actions" },
        actionButtons(job, { onJob: this.onJob, onGone: this.onGone }),
        hasSource ? downloadLink({ url: `/v1/jobs/${job.id}/source`, name: "source" }, "the source", "Download the source") : null));
  }

  trouble(job) {
    const parts = [];
    if (job.error && job.status !== "succeeded") {
      parts.push(h("p", { class: "reason" }, code(job.error.code), ` ${job.error.detail}`, job.error.output ? ` (output ${job.error.output})` : "", job.error.retryable ? " A retry may help." : ""));
    }
    for (const warning of job.warnings) parts.push(h("p", { class: "warning" }, h("strong", { text: warning.output ? `${warning.output}: ` : "" }), warning.detail));
    return parts.length > 0 ? h("div", { class: "troubles" }, parts) : null;
  }

  drawResults(job) {
    if (job.outputs.length === 0) return null;
    const before = job.source && isShowable(job.source) ? `/v1/jobs/${job.id}/source` : null;
    const cards = job.outputs.map((output) => h("article", { class: "result", "aria-label": `Output ${output.name}` },
      isShowable(output) ? compare({ before, after: output.url, name: output.name, ratio: output.width / output.height, pictures: this.pictures }) : h("p", { class: "note", text: `Browsers don't show ${output.format}.` }),
      h("div", { class: "result-facts" },
        h("h4", { text: output.name }),
        h("span", { text: `${output.format} ${output.width}×${output.height}` }),
        output.quality ? h("span", { text: `quality ${output.quality}` }) : null,
        h("span", {}, size(output.bytes), job.source ? h("span", { class: output.bytes < job.source.bytes ? "gain" : "loss", text: ` ${saved(job.source.bytes, output.bytes)}` }) : null),
        output.location ? h("code", { text: output.location }) : null,
        downloadLink(output, output.name))));
    return h("section", {}, h("h3", { text: job.outputs.length === 1 ? "Result" : `${job.outputs.length} results` }), h("div", { class: "results" }, cards));
  }

  webhook(job) {
    if (!job.webhook) return null;
    const { url, status, attempts: count, last_status: lastStatus, next_attempt_at: next } = job.webhook;
    const words = [status ?? "waits for the job's end", count ? `${count} attempt${count === 1 ? "" : "s"}` : null, lastStatus ? `last answered ${lastStatus}` : null].filter(Boolean).join(", ");
    this.deliveries ??= new Deliveries(job.id);
    this.deliveries.load();
    return h("section", {}, h("h3", { text: "Webhook" }), h("p", {}, h("code", { text: url }), " ", h("span", { class: `status ${status === "delivered" ? "succeeded" : status ?? "queued"}`, text: words }), next ? [" next attempt ", timeOf(next)] : null), this.deliveries.place);
  }

  raw(job, isOpen) {
    const fold = h("details", { class: "fold", id: "raw" }, h("summary", { "data-act": "raw", text: "The job as JSON" }), h("pre", { tabindex: "0", "aria-label": "The job as JSON", text: JSON.stringify(job, null, 2) }));
    fold.open = isOpen;
    return fold;
  }
}
