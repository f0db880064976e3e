// What is wrong with webhooks, for whoever runs the server: receivers that fail or were disabled, and what was given up.
// Owns its panel, which is there only while something is wrong; a key that may not see this sees nothing.

import * as api from "./api.js";
import { byId, h, say, shortId, timeOf } from "./dom.js";
import { actOnce, sureButton } from "./actions.js";

const EVERY_MS = 15_000;
const PAGE = 5;

/** What the receiver said last, or why it said nothing. */
function lastWords({ attempts }) {
  const last = attempts.at(-1);
  if (!last) return "never sent";
  const status = String(last.status ?? "");
  return [!status || last.error?.includes(status) ? null : `answered ${status}`, last.error].filter(Boolean).join(": ");
}

export class Receivers {
  constructor() {
    this.drawn = "";
    this.limit = PAGE;
    this.isAllowed = true;
    this.givenUp = null;
    this.askedAt = -Infinity;
  }

  /** Looks now and then, and at once when a sample of `/v1/stats` tells that something more was given up. */
  take(stats) {
    // Who is told of a single key's jobs is no operator.
    if (stats.covers === "key" || !this.isAllowed) return;
    const isNews = this.givenUp !== stats.deliveries.failed;
    this.givenUp = stats.deliveries.failed;
    if (isNews || performance.now() - this.askedAt > EVERY_MS) this.load();
  }

  async load() {
    this.askedAt = performance.now();
    try {
      const [{ receivers }, { deliveries }] = await Promise.all([api.json("/v1/receivers", { quiet: true }), api.json(`/v1/deliveries?limit=${this.limit}`, { quiet: true })]);
      this.draw(receivers, deliveries);
    } catch (problem) {
      // Not this key's business; a 401 is asked about by the rest of the page.
      if (problem.status === 403) this.isAllowed = false;
      if (problem.status === 401 || problem.status === 403) byId("webhooks").hidden = true;
    }
  }

  draw(receivers, deliveries) {
    const news = JSON.stringify([receivers, deliveries]);
    if (news === this.drawn) return;
    this.drawn = news;
    const panel = byId("webhooks");
    const held = panel.contains(document.activeElement) ? document.activeElement.getAttribute("data-act") : null;
    panel.hidden = receivers.length + deliveries.length === 0;
    byId("receivers").replaceChildren(...receivers.map((receiver) => this.receiver(receiver)));
    byId("given-up").replaceChildren(...deliveries.map((delivery) => this.delivery(delivery)));
    byId("given-up-title").hidden = deliveries.length === 0;
    byId("given-up-more").replaceChildren(...this.more(deliveries));
    if (held) (panel.querySelector(`[data-act="${CSS.escape(held)}"]`) ?? byId("webhooks-title")).focus();
  }

  receiver({ receiver, status, failing_since: since, disabled_at: disabledAt }) {
    const isDisabled = status === "disabled";
    const button = (label, act, words, run) => h("button", { type: "button", class: "small", "data-act": `${act} ${receiver}`, "aria-label": words, text: label, on: { click: (event) => this.act(event, run) } });
    const query = new URLSearchParams({ receiver });
    return h("li", { class: "trouble-row" },
      h("div", { class: "facts" },
        h("div", { class: "job-head" }, h("code", { text: receiver }), h("span", { class: `status ${isDisabled ? "failed" : "queued"}`, text: status })),
        h("div", { class: "soft" }, since ? ["takes nothing since ", timeOf(since)] : "", disabledAt ? ["; not called since ", timeOf(disabledAt)] : "; called again as planned")),
      h("div", { class: "actions" },
        isDisabled ? button("Enable", "enable", `Enable ${receiver}`, async () => {
          await api.request(`/v1/receivers/enable?${query}`, { method: "POST" });
          say(`${receiver} is called again. What was given up can be sent again.`);
        }) : null));
  }

  delivery(delivery) {
    const path = `/v1/jobs/${delivery.job}/deliveries/redeliver`;
    const again = h("button", { type: "button", class: "small", "data-act": `again ${delivery.id}`, "aria-label": `Send again: ${delivery.event} of job ${shortId(delivery.job)}`, text: "Send again", on: { click: (event) => this.act(event, async () => {
      await api.request(path, { method: "POST" });
      say("The event will be sent again.");
    }) } });
    return h("li", { class: "trouble-row" },
      h("div", { class: "facts" },
        h("div", { class: "job-head" }, h("a", { href: `#/jobs/${delivery.job}`, class: "job-link", text: shortId(delivery.job) }), h("span", { text: delivery.event }), delivery.ended_at ? h("span", { class: "soft" }, "given up ", timeOf(delivery.ended_at)) : null),
        h("div", { class: "soft" }, h("code", { text: delivery.url })),
        h("div", { class: "reason", text: `${delivery.attempts_begun} attempt${delivery.attempts_begun === 1 ? "" : "s"}, the last: ${lastWords(delivery)}` })),
      h("div", { class: "actions" }, again));
  }

  /** What concerns all that was given up: more of it, and sending everything again. */
  more(deliveries) {
    if (deliveries.length === 0) return [];
    const isMore = deliveries.length === this.limit;
    const older = h("button", { type: "button", class: "small", "data-act": "more-given-up", text: "Show more", on: { click: (event) => this.act(event, async () => { this.limit = Math.min(200, this.limit * 2); }) } });
    const all = sureButton("Send all again", "all-again", "Send all again that was given up", async () => {
      const { deliveries: count } = await api.json(`/v1/deliveries/redeliver?${new URLSearchParams({ since: "1970-01-01T00:00:00Z" })}`, { method: "POST" });
      say(`${count} ${count === 1 ? "delivery" : "deliveries"} will be sent again.`);
      await this.load();
    });
    return [isMore && this.limit < 200 ? older : null, all].filter(Boolean);
  }

  async act(event, run) {
    await actOnce(event.currentTarget, async () => {
      await run();
      await this.load();
    });
  }
}
