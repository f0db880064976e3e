// The log of a job's webhook: every attempt with its answer, and the button that sends the event again.
// Owns nothing that outlives its place; a server without the log shows nothing.

import * as api from "./api.js";
import { duration, h, say, timeOf } from "./dom.js";

export class Deliveries {
  constructor(job, place) {
    this.path = `/v1/jobs/${job.id}/deliveries`;
    this.place = place;
  }

  async load() {
    try {
      const answer = await api.json(this.path);
      this.draw(answer.deliveries ?? []);
    } catch (problem) {
      if (problem.status !== 404) this.place.replaceChildren(h("p", { class: "bad", text: problem.message }));
    }
  }

  draw(deliveries) {
    if (deliveries.length === 0) return;
    const rows = deliveries.flatMap((delivery) => (delivery.attempts ?? []).map((attempt) => ({ delivery, attempt })));
    const again = h("button", { type: "button", class: "small", "data-act": "redeliver", text: "Send again", on: { click: async () => {
      again.disabled = true;
      try {
        await api.request(`${this.path}/redeliver`, { method: "POST" });
        say("The event will be sent again.");
      } catch (problem) {
        say(problem.message, true);
      }
      again.disabled = false;
    } } });
    const cells = ({ delivery, attempt }) => [
      delivery.event ?? "", timeOf(attempt.at ?? attempt.started_at), attempt.status ? String(attempt.status) : "none",
      attempt.latency_ms === undefined || attempt.latency_ms === null ? "" : duration(attempt.latency_ms),
      [attempt.error ?? "", attempt.answer ? h("details", {}, h("summary", { text: "answer" }), h("pre", { tabindex: "0", text: attempt.answer })) : null],
    ];
    const heads = ["Event", "Sent", "Answer", "Took", "Remark"];
    this.place.replaceChildren(
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Delivery log" },
        h("table", {}, h("caption", { class: "visually-hidden", text: "Delivery log" }),
          h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col", text: head })))),
          h("tbody", {}, rows.map((row) => h("tr", {}, cells(row).map((cell) => h("td", {}, cell))))))),
      again);
  }
}
