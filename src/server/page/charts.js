// The queue as small charts that move: depth, throughput, wait, age, workers, memory, event loop, deliveries.
// Owns the last minutes of `/v1/stats`; the server keeps no history for pages.

import * as api from "./api.js";
import { byId, duration, h, say, size, svg } from "./dom.js";

const EVERY_MS = 2_000;
/** Four minutes. */
const SAMPLES = 120;
const WIDTH = 120;
const HEIGHT = 32;

const seconds = (value) => (value === null || value === undefined ? "–" : duration(value * 1000));

/** What is drawn: a title, the number behind the line (null: nothing to draw), words for now, and a ceiling if there is one. */
const CHARTS = [
  { id: "depth", title: "Queued", value: (s) => s.jobs.queued, words: (s) => String(s.jobs.queued), note: (s) => `${s.jobs.running} running` },
  { id: "throughput", title: "Throughput", value: (s) => s.finished_last_minute, words: (s) => `${s.finished_last_minute}/min`, note: () => "ended" },
  { id: "wait", title: "Wait", value: (s) => s.wait_seconds_last_minute, words: (s) => seconds(s.wait_seconds_last_minute), note: () => "mean, last minute" },
  { id: "oldest", title: "Oldest waiting", value: (s) => s.oldest_queued_seconds ?? 0, words: (s) => seconds(s.oldest_queued_seconds), note: () => "" },
  { id: "workers", title: "Workers busy", value: (s) => s.workers.busy, words: (s) => `${s.workers.busy}/${s.workers.total}`, most: (s) => s.workers.total, note: (s) => `isolation: ${s.isolation}` },
  { id: "memory", title: "Memory granted", value: (s) => s.memory.granted_bytes, words: (s) => size(s.memory.granted_bytes), note: (s) => `of ${size(s.memory.limit_bytes)}` },
  { id: "stall", title: "Event loop stall", value: (s) => s.event_loop_stall_max_ms, words: (s) => duration(s.event_loop_stall_max_ms), note: () => "longest since the start" },
  { id: "deliveries", title: "Deliveries due", value: (s) => s.deliveries.pending, words: (s) => String(s.deliveries.pending), note: (s) => `${s.deliveries.delivered} delivered, ${s.deliveries.failed} given up` },
];

class Chart {
  constructor(about) {
    this.about = about;
    this.values = [];
    this.line = svg("path", { class: "line", d: "" });
    this.area = svg("path", { class: "area", d: "" });
    this.drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": about.title }, this.area, this.line);
    this.now = h("strong", { text: "–" });
    this.note = h("small", { text: "" });
    this.element = h("li", { class: `chart ${about.id}` }, h("span", { class: "chart-title", text: about.title }), this.now, this.drawing, this.note);
  }

  add(stats) {
    const value = this.about.value(stats);
    this.element.hidden = value === undefined;
    this.values.push(value ?? 0);
    if (this.values.length > SAMPLES) this.values.shift();
    this.now.textContent = this.about.words(stats);
    this.note.textContent = this.about.note(stats);
    const most = Math.max(this.about.most?.(stats) ?? 0, ...this.values, Number.EPSILON);
    const x = (index) => WIDTH - (this.values.length - 1 - index) * (WIDTH / (SAMPLES - 1));
    const y = (number) => HEIGHT - 1.5 - (number / most) * (HEIGHT - 3);
    const points = this.values.map((number, index) => `${x(index).toFixed(1)} ${y(number).toFixed(1)}`);
    if (points.length < 2) return;
    this.line.setAttribute("d", `M${points.join("L")}`);
    this.area.setAttribute("d", `M${x(0).toFixed(1)} ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z`);
    const highest = this.values.indexOf(Math.max(...this.values));
    const spread = highest >= 0 && Math.max(...this.values) > 0 ? `, highest ${Math.round((this.values.length - 1 - highest) * EVERY_MS / 1000)} s ago` : "";
    this.drawing.setAttribute("aria-label", `${this.about.title}: ${this.now.textContent}${spread}`);
  }
}

/** Draws the charts for as long as the page lives, and hands every sample on, or null for want of an answer; rests while nobody looks. */
export function start({ onStats }) {
  const charts = CHARTS.map((about) => new Chart(about));
  byId("charts").replaceChildren(...charts.map((chart) => chart.element));
  const totals = byId("totals");
  let isSilent = false;
  const sample = async () => {
    try {
      const stats = await api.json("/v1/stats", { signal: AbortSignal.timeout(10_000) });
      for (const chart of charts) chart.add(stats);
      onStats(stats);
      totals.textContent = `${stats.covers === "key" ? "Kept of this key" : "Kept"}: ${stats.jobs.succeeded} succeeded, ${stats.jobs.failed} failed, ${stats.jobs.cancelled} cancelled.`;
      if (isSilent) say("The server answers again.");
      isSilent = false;
    } catch (problem) {
      if (!problem.status) onStats(null);
      if (!isSilent) say(problem.status ? `The queue can't be read: ${problem.message}` : "The server does not answer.", true);
      isSilent = true;
    }
  };
  const loop = async () => {
    if (!document.hidden) await sample();
    setTimeout(loop, EVERY_MS);
  };
  loop();
}
