// The job's own options: what to find out about the image, whom to tell, when to run, labels.
// Owns what was typed there; made from the schema of a job specification. Part of the builder.

import { freshId, h } from "./dom.js";
import { errorPlace, fields, label, objectOf } from "./fields.js";

/** Fields of a specification that are one control each, in the order in which they are shown. */
const SIMPLE = ["tag", "priority", "run_at", "timeout", "max_attempts", "expires_in", "auto_orient"];
const EXAMPLES = { run_at: "2027-01-31T12:00:00Z", timeout: "60s", expires_in: "24h", tag: "left out" };

export class Options {
  constructor({ analyses, jobSchema }) {
    const properties = jobSchema.properties ?? {};
    this.analyses = analyses;
    this.events = properties.webhook?.properties?.events?.items?.enum ?? [];
    this.schema = { properties: Object.fromEntries(SIMPLE.filter((name) => properties[name]).map((name) => [name, properties[name]])) };
    this.values = {};
    this.analyze = new Set();
    this.webhook = { url: "", events: new Set(this.events) };
    this.metadata = "";
  }

  spec() {
    const spec = objectOf(this.schema, this.values);
    if (this.analyze.size > 0) spec.analyze = this.analyses.map(({ name }) => name).filter((name) => this.analyze.has(name));
    if (this.webhook.url) {
      spec.webhook = { url: this.webhook.url };
      if (this.webhook.events.size < this.events.length) spec.webhook.events = this.events.filter((event) => this.webhook.events.has(event));
    }
    const pairs = this.metadata.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
      const at = line.indexOf("=");
      return at < 0 ? [line, ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    });
    if (pairs.length > 0) spec.metadata = Object.fromEntries(pairs);
    return spec;
  }

  /** The two folds of options. */
  draw(places, changed) {
    const context = { values: this.values, pointer: "", places, changed };
    const simple = fields(this.schema, context);
    for (const [name, text] of Object.entries(EXAMPLES)) simple[0]?.querySelector(`input[id^="${name}-"]`)?.setAttribute("placeholder", text);
    const analyze = h("details", { class: "fold" }, h("summary", { text: "Find out about the image" }), this.checks("analyze", this.analyses.map(({ name, summary }) => [name, summary]), this.analyze, places, changed));
    analyze.open = this.analyze.size > 0;
    const job = h("details", { class: "fold" }, h("summary", { text: "Webhook, labels, timing" }), this.webhookFields(places, changed), simple, this.metadataField(places, changed));
    return [analyze, job];
  }

  checks(name, choices, chosen, places, changed) {
    const group = h("fieldset", { class: "checks" }, h("legend", { class: "visually-hidden", text: label(name) }), choices.map(([value, summary]) => {
      const box = h("input", { type: "checkbox", checked: chosen.has(value), on: { change: () => {
        if (box.checked) chosen.add(value);
        else chosen.delete(value);
        changed();
      } } });
      return h("label", { title: summary }, box, ` ${value}`, summary ? h("small", { class: "hint", text: summary }) : null);
    }));
    const { place, show } = errorPlace(group);
    group.removeAttribute("aria-invalid");
    group.append(place);
    places.add(`/${name}`, (text) => { show(text); group.removeAttribute("aria-invalid"); });
    return group;
  }

  webhookFields(places, changed) {
    const id = freshId("webhook");
    const input = h("input", { id, type: "url", value: this.webhook.url, placeholder: "https://example.com/hook", on: { input: () => {
      this.webhook.url = input.value.trim();
      events.hidden = !this.webhook.url;
      changed();
    } } });
    const { place, show } = errorPlace(input);
    places.add("/webhook", show);
    const events = this.checks("webhook/events", this.events.map((event) => [event, ""]), this.webhook.events, places, changed);
    events.hidden = !this.webhook.url;
    return [h("div", { class: "field wide" }, h("label", { for: id, text: "Webhook" }), input, place, h("small", { class: "hint", text: "Told, signed, when the job has ended." })), events];
  }

  metadataField(places, changed) {
    const id = freshId("metadata");
    const area = h("textarea", { id, rows: 2, placeholder: "user_id=42", spellcheck: "false", on: { input: () => {
      this.metadata = area.value;
      changed();
    } } });
    area.value = this.metadata;
    const { place, show } = errorPlace(area);
    places.add("/metadata", show);
    return h("div", { class: "field wide" }, h("label", { for: id, text: "Metadata" }), area, place, h("small", { class: "hint", text: "One key=value a line; given back untouched." }));
  }
}
