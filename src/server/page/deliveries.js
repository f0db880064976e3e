// The log of a job's webhook: every attempt with its answer, and the button that sends the event again.
// Owns nothing that outlives its place; a server without the log shows nothing.

import * as api from "./api.js";
import { duration, h, say, timeOf } from "./dom.js";

export class Deliveries {
  /** `place` is to be shown where the log belongs. */
  constructor(jobId) {
    this.path = `/v1/jobs/${jobId}/deliveries`;
    this.log = h("div", {});
    this.again = this.button();
    this.place = h("div", { class: "delivery-log", hidden: true }, this.log, h("p", {}, this.again));
    this.drawn = "";
  }

  button() {
    const made = h("button", { type: "button", class: "small", "data-act": "redeliver", text: "Send again", on: { click: async () => {
      try {
        await api.request(`${this.path}/redeliver`, { method: "POST" });
        say("The event will be sent again.");
        await this.load();
      } catch (problem) {
        say(problem.message, true);
      }
    } } });
    return made;
  }

  /** Reads the log and draws it if there is news: an answer that somebody has unfolded stays unfolded. */
  async load() {
    try {
      const { deliveries = [] } = await api.json(this.path);
      const news = JSON.stringify(deliveries);
      if (news === this.drawn) return;
      this.drawn = news;
      this.place.hidden = deliveries.length === 0;
      this.log.replaceChildren(this.table(deliveries));
    } catch (problem) {
      if (problem.status === 404) return;
      this.place.hidden = false;
      this.log.replaceChildren(h("p", { class: "bad", text: problem.message }));
    }
  }

  table(deliveries) {
    const rows = deliveries.flatMap(({ event, attempts = [] }) => attempts.map((attempt) => [
      event, timeOf(attempt.at), attempt.status === null ? "none" : String(attempt.status), duration(attempt.latency_ms),
      [attempt.error ?? "", attempt.answer ? h("details", {}, h("summary", { text: "answer" }), h("pre", { tabindex: "0", text: attempt.answer })) : ""],
    ]));
    const heads = ["Event", "Sent", "Answer", "Took", "Remark"];
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Delivery log" },
      h("table", {}, h("caption", { class: "visually-hidden", text: "Delivery log" }),
        h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col", text: head })))),
        h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell)))))));
  }
}
