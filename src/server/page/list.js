// The list of jobs: filtered, paged, live.
// Owns what is shown of the list; a job's own page is `job.js`. Verbs on jobs are in `actions.js`.

import * as api from "./api.js";
import { actionButtons } from "./actions.js";
import { Picture, isShowable } from "./pictures.js";
import { byId, duration, h, saved, shortId, size, swap, timeOf } from "./dom.js";

const PAGE = 20;

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
  return job.finished_at && ms > 0 ? ` · took ${duration(ms)}` : "";
}

export class List {
  constructor({ onGone }) {
    this.onGone = onGone;
    this.rows = new Map();
    this.pages = [null];
    this.next = null;
    this.loading = 0;
    byId("filter").addEventListener("submit", (event) => event.preventDefault());
    byId("filter-status").addEventListener("change", () => this.first());
    byId("filter-tag").addEventListener("change", () => this.first());
    byId("filter-tag").addEventListener("search", () => this.first());
    byId("older").addEventListener("click", () => this.turn(1));
    byId("newer").addEventListener("click", () => this.turn(-1));
  }

  filter() {
    return { status: byId("filter-status").value, tag: byId("filter-tag").value.trim() };
  }

  /** Back to the first page. */
  first() {
    this.pages = [null];
    return this.load();
  }

  turn(by) {
    if (by > 0 && this.next) this.pages.push(this.next);
    else if (by < 0 && this.pages.length > 1) this.pages.pop();
    return this.load();
  }

  /** Reads the page that is shown again. */
  async load() {
    const turn = (this.loading += 1);
    const { status, tag } = this.filter();
    const query = new URLSearchParams({ limit: PAGE });
    if (status) query.set("status", status);
    if (tag) query.set("tag", tag);
    try {
      const { jobs, next } = await api.jobs(this.pages.at(-1) ?? `/v1/jobs?${query}`);
      if (turn !== this.loading) return;
      this.next = next;
      const kept = new Set(jobs.map((job) => job.id));
      for (const id of [...this.rows.keys()].filter((id) => !kept.has(id))) this.drop(id);
      for (const job of jobs) this.show(job);
      byId("list-trouble").textContent = "";
      this.tidy();
    } catch (problem) {
      if (turn === this.loading) byId("list-trouble").textContent = `The list can't be read: ${problem.message}`;
    }
  }

  /** News of a job, if it belongs on this page. */
  take(job) {
    const { status, tag } = this.filter();
    const isWanted = (!status || status === job.status) && (!tag || tag === job.tag);
    if (!isWanted) this.drop(job.id);
    else if (this.rows.has(job.id) || this.pages.length === 1) this.show(job);
    this.tidy();
  }

  show(job) {
    const known = this.rows.get(job.id);
    if (known && known.version > job.version) return;
    if (known && known.version === job.version && known.position === job.queue_position) return;
    const picture = this.pictureOf(job, known);
    const item = this.item(job, picture);
    if (known) swap(known.item, item);
    else {
      const after = [...this.rows].filter(([id]) => id > job.id).sort(([a], [b]) => (a < b ? -1 : 1))[0];
      if (after) after[1].item.after(item);
      else byId("jobs").prepend(item);
    }
    this.rows.set(job.id, { version: job.version, position: job.queue_position, item, picture });
    // Only the first page grows, at its head.
    if (this.rows.size > PAGE) this.drop([...this.rows.keys()].sort()[0], true);
  }

  /** The thumbnail: kept as long as it shows the same thing. */
  pictureOf(job, known) {
    const output = job.outputs.find(isShowable);
    const address = output?.url ?? null;
    if (known?.picture?.path === address) return known.picture;
    known?.picture?.release();
    return address ? new Picture(address, { alt: "", className: "thumb" }) : null;
  }

  drop(id, isOlder = false) {
    const row = this.rows.get(id);
    if (!row) return;
    row.picture?.release();
    row.item.remove();
    this.rows.delete(id);
    if (isOlder) this.next ??= `/v1/jobs?${new URLSearchParams({ limit: PAGE })}`;
  }

  tidy() {
    const { status, tag } = this.filter();
    byId("empty").hidden = this.rows.size > 0;
    byId("empty").textContent = status || tag ? "No job matches." : "No jobs yet. Drop an image above.";
    byId("newer").disabled = this.pages.length === 1;
    byId("older").disabled = !this.next;
    byId("pager").hidden = this.pages.length === 1 && !this.next;
    byId("page-number").textContent = `Page ${this.pages.length}`;
  }

  item(job, picture) {
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
      h("div", { class: "actions" }, actionButtons(job, { onJob: (changed) => this.take(changed), onGone: (id) => { this.drop(id); this.tidy(); this.onGone(id); } })));
  }
}
