// What each API key uses, beside what it may: jobs in line, workers' time, requests. From `/v1/stats`, like the charts.
// Owns its panel, which is there only where keys are asked for; a key that is no operator's sees its own row alone.

import { byId, duration, h, timeOf } from "./dom.js";

const percent = (part, whole) => (whole > 0 ? `${Math.round((part / whole) * 100)} %` : "–");

/** A number of what there is room for, as words and as a bar. */
function share(value, most, words) {
  const bar = most ? h("meter", { min: 0, max: most, value: Math.min(value, most), high: most * 0.8, optimum: 0, "aria-hidden": "true" }) : null;
  return [h("span", { text: words }), bar];
}

/** The cells of a key's row, in the order of the table's heads. */
function cells(key, allSeconds) {
  return [
    [h("strong", { text: key.name }), h("small", { class: "soft", text: key.scopes.join(", ") + (key.weight === 1 ? "" : `, weight ${key.weight}`) })],
    share(key.queued, key.queue_places, `${key.queued} of ${key.queue_places}`),
    String(key.running),
    String(key.finished_last_minute),
    [duration(key.worker_seconds_last_minute * 1000), h("small", { class: "soft", text: percent(key.worker_seconds_last_minute, allSeconds) })],
    share(key.requests_last_minute, key.requests_per_minute, key.requests_per_minute ? `${key.requests_last_minute} of ${key.requests_per_minute}` : String(key.requests_last_minute)),
    key.last_used_at ? timeOf(key.last_used_at) : "not since the start",
  ];
}

export class Usage {
  constructor() {
    this.drawn = "";
  }

  /** Shows a sample. */
  take(stats) {
    const keys = stats.keys ?? [];
    byId("usage").hidden = keys.length === 0;
    const isOwn = stats.covers === "key";
    const news = JSON.stringify([isOwn, keys, stats.worker_seconds_last_minute]);
    if (news === this.drawn || keys.length === 0) return;
    this.drawn = news;
    byId("usage-title").textContent = isOwn ? "This key" : "API keys";
    byId("usage-rows").replaceChildren(...keys.map((key) => {
      const [name, ...rest] = cells(key, stats.worker_seconds_last_minute);
      return h("tr", { "data-key": key.id }, h("th", { scope: "row" }, name), rest.map((cell) => h("td", {}, cell)));
    }));
  }
}
