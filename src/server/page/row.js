// A job's line in the list: what it works on, how it stands, what came out, and its verbs.
// Owns the words of a line; which jobs are listed is known by `list.js`. The job's own page says some of it in the same words.

import { actionButtons } from "./actions.js";
import { duration, h, saved, shortId, size, timeOf } from "./dom.js";

/** A job's status as a badge, with how far it is. */
export function statusOf(job) {
  const badge = h("span", { class: `status ${job.status}`, text: job.status });
  if (job.status === "running") return [badge, h("progress", { max: 1, value: job.progress, "aria-label": "Progress" })];
  if (job.status !== "queued") return [badge];
  if (Date.parse(job.run_at) > Date.now() + 1000) return [badge, h("small", {}, "from ", timeOf(job.run_at))];
  return job.queue_position ? [badge, h("small", { text: `${job.queue_position}. in line` })] : [badge];
}

/** What a job works on, in a few words. */
export function sourceOf(job) {
  if (!job.source) return "an image to be fetched";
  const { format, width, height, bytes, frames } = job.source;
  return `${format} ${width}×${height}${frames > 1 ? `, ${frames} frames` : ""}, ${size(bytes)}`;
}

/** Where the time went, as one bar; the words are its label. */
export function stagesOf(timings) {
  return ["queued", "fetch", "decode", "operations", "encode", "store"].map((name) => [name, timings[name] ?? 0]).filter(([, ms]) => ms > 0);
}

/** How long the work itself took, without waiting for a turn. */
function workOf(job) {
  const ms = stagesOf(job.timings_ms).reduce((sum, [name, part]) => sum + (name === "queued" ? 0 : part), 0);
  return job.finished_at && ms > 0 ? h("span", { class: "took", text: ` · took ${duration(ms)}` }) : null;
}

/** The line. `picture` is its thumbnail, if there is one; `onJob` and `onGone` are told what its buttons did. */
export function rowOf(job, picture, { onJob, onGone }) {
  const before = job.source?.bytes ?? 0;
  const title = h("a", { href: `#/jobs/${job.id}`, class: "job-link", "data-act": "open", title: job.id, text: shortId(job.id) });
  const outputs = job.outputs.map((output) => h("li", {}, h("strong", { text: output.name }), ` ${output.format} ${output.width}×${output.height}, ${size(output.bytes)} `, before ? h("span", { class: output.bytes < before ? "gain" : "loss", text: saved(before, output.bytes) }) : null));
  const facts = h("div", { class: "facts" },
    h("div", { class: "job-head" }, title, job.tag ? h("span", { class: "tag", text: job.tag }) : null, statusOf(job)),
    h("div", { class: "soft" }, sourceOf(job), " · ", timeOf(job.created_at), workOf(job)),
    job.error && job.status !== "succeeded" ? h("p", { class: "reason" }, h("a", { href: `/problems/${encodeURIComponent(job.error.code)}`, text: job.error.code }), ` ${job.error.detail}`) : null,
    outputs.length > 0 ? h("ul", { class: "outputs" }, outputs) : null);
  return h("li", { class: "job", "data-job": job.id },
    picture?.element ?? h("span", { class: "thumb no-thumb", "aria-hidden": "true" }),
    facts,
    h("div", { class: "actions" }, actionButtons(job, { onJob, onGone })));
}
