// The builder: from fields made of the server's own schemas to a job specification.
// Owns what was typed and its order; every operation and option that the server knows is there without being named here. Sends nothing.

import { h, freshId } from "./dom.js";
import { Places, errorPlace, fields, label, objectOf, typedOf } from "./fields.js";
import { Options } from "./options.js";

const NAME_PATTERN = "[a-z0-9][a-z0-9_\\-]{0,63}";
/** Output options that most people want; the others are folded away. */
const FIRST_OPTIONS = ["format", "quality"];

/** An operation with values to begin with: what it can't do without, or else its example's. */
function fresh(known) {
  const example = known.schema.examples?.[0] ?? {};
  const required = (known.schema.required ?? []).filter((name) => name !== "op");
  const wanted = required.length > 0 ? required : Object.keys(example);
  const values = {};
  for (const name of wanted) {
    const schema = known.schema.properties[name];
    if (name !== "op" && example[name] !== undefined) values[name] = typedOf(schema, example[name]);
  }
  return { op: known.name, values };
}

export class Builder {
  /** `changed` is called after every change. */
  constructor({ root, presetSelect, capabilities, jobSchema, changed }) {
    this.root = root;
    this.presetSelect = presetSelect;
    this.capabilities = capabilities;
    this.changed = changed;
    this.places = new Places();
    this.files = new Map();
    this.operations = [];
    this.outputs = [{ name: "", values: { format: "webp" }, operations: [{ op: "resize", values: { width: "800" } }] }];
    this.options = new Options({ analyses: capabilities.analyses, jobSchema });
    this.assets = {
      names: () => [...new Set([...capabilities.assets, ...this.files.keys()])],
      attach: (file) => this.attach(file),
    };
    presetSelect.append(h("option", { value: "", text: "Build it here" }), ...capabilities.presets.map((name) => h("option", { value: name, text: `Preset: ${name}` })));
    presetSelect.addEventListener("change", () => this.draw());
    this.draw();
  }

  /** The specification, without a source. */
  spec() {
    const preset = this.presetSelect.value;
    const spec = preset ? { preset } : {};
    if (!preset) {
      if (this.operations.length > 0) spec.operations = this.operations.map((operation) => this.operationOf(operation));
      if (this.outputs.length > 0) spec.outputs = this.outputs.map((output) => this.outputOf(output));
    }
    return { ...spec, ...this.options.spec() };
  }

  /** Shows mistakes at their fields; gives back those that belong to none. */
  showMistakes(mistakes) {
    return this.places.show(mistakes);
  }

  operationOf({ op, values }) {
    return { op, ...objectOf(this.known(op).schema, values) };
  }

  outputOf({ name, values, operations }) {
    const made = name ? { name } : {};
    if (operations.length > 0) made.operations = operations.map((operation) => this.operationOf(operation));
    return { ...made, ...objectOf(this.capabilities.output_options, values) };
  }

  known(name) {
    return this.capabilities.operations.find((operation) => operation.name === name);
  }

  /** Keeps a file under a name that an overlay may use; the name is made from the file's. */
  attach(file) {
    const stem = file.name.replace(/\.[^.]*$/, "").toLowerCase().replace(/[^a-z0-9_-]+/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 60) || "image";
    let name = stem;
    for (let next = 2; name === "file" || name === "job" || (this.files.has(name) && this.files.get(name) !== file); next += 1) name = `${stem}-${next}`;
    this.files.set(name, file);
    return name;
  }

  /** The attached files that the specification uses. */
  usedFiles() {
    const used = new Set();
    const collect = (operation) => { if (typeof operation.input === "string") used.add(operation.input); };
    const { operations = [], outputs = [] } = this.spec();
    [...operations, ...outputs.flatMap((output) => output.operations ?? [])].forEach(collect);
    return [...this.files].filter(([name]) => used.has(name));
  }

  /** Draws everything anew after a change of structure, and puts the focus where `focus` says. */
  draw(focus) {
    const hasPreset = this.presetSelect.value !== "";
    this.places = new Places();
    const parts = [];
    if (hasPreset) {
      parts.push(h("p", { class: "note", text: "The preset decides on operations and outputs." }));
    } else {
      parts.push(...this.outputs.map((output, index) => this.outputCard(output, index)), this.addOutput(), this.sharedOperations());
    }
    parts.push(...this.options.draw(this.places, () => this.changed()));
    this.root.replaceChildren(...parts);
    if (focus) this.root.querySelector(`[data-act="${CSS.escape(focus)}"]`)?.focus();
    this.changed();
  }

  context(values, pointer) {
    return { values, pointer, places: this.places, changed: () => this.changed(), assets: this.assets, fonts: this.capabilities.fonts, destinations: this.capabilities.destinations ?? [] };
  }

  addOutput() {
    if (this.outputs.length >= this.capabilities.limits.outputs_max) return null;
    return h("button", {
      type: "button", class: "add", "data-act": "add-output", text: "+ Another output",
      on: { click: () => {
        const last = this.outputs.at(-1);
        this.outputs.push({ name: "", values: last ? { ...last.values } : {}, operations: [{ op: "resize", values: { width: "320" } }] });
        this.draw(`name-${this.outputs.length - 1}`);
      } },
    });
  }

  outputCard(output, index) {
    const pointer = `/outputs/${index}`;
    const title = index === 0 ? "output" : `output-${index + 1}`;
    const legend = h("legend", {}, "Output ", h("strong", { text: output.name || String(index + 1) }));
    const id = freshId("output-name");
    const input = h("input", {
      id, type: "text", value: output.name, placeholder: title, pattern: NAME_PATTERN, maxlength: 64, spellcheck: "false", "data-act": `name-${index}`,
      on: { input: () => {
        output.name = input.value.trim();
        legend.lastChild.textContent = output.name || String(index + 1);
        this.changed();
      } },
    });
    const { place, show } = errorPlace(input);
    this.places.add(`${pointer}/name`, show);
    const nameField = h("div", { class: "field" }, h("label", { for: id, text: "Name" }), input, place);
    const parts = fields(this.capabilities.output_options, this.context(output.values, pointer), { first: FIRST_OPTIONS, foldTitle: "More output options" });
    parts[0].prepend(nameField);
    const card = h("fieldset", { class: "output" }, legend,
      h("button", {
        type: "button", class: "icon remove", "aria-label": `Remove output ${output.name || title}`, text: "×",
        on: { click: () => { this.outputs.splice(index, 1); this.draw("add-output"); } },
      }),
      this.operationList(output.operations, `${pointer}/operations`, `Operations of ${output.name || title}`), parts);
    this.placeOf(card, pointer);
    return card;
  }

  sharedOperations() {
    const fold = h("details", { class: "fold" },
      h("summary", { text: "Operations before all outputs" }),
      h("p", { class: "hint", text: "Run once on the decoded image; every output starts from what they leave." }),
      this.operationList(this.operations, "/operations", "Operations before all outputs"));
    fold.open = this.operations.length > 0;
    return fold;
  }

  /** A list of operations with what adds to it. */
  operationList(list, pointer, title) {
    const items = list.map((operation, index) => this.operationCard(list, operation, index, `${pointer}/${index}`));
    const select = h("select", { "aria-label": `Add to: ${title}`, "data-act": `add ${pointer}` },
      h("option", { value: "", text: "+ Add an operation…" }),
      this.capabilities.operations.map(({ name, summary }) => h("option", { value: name, title: summary, text: label(name) })));
    // Arrow keys change a closed list at once in some browsers: only Enter, a click, or leaving the list means it.
    const add = h("button", { type: "button", class: "small", text: "Add", on: { click: () => {
      if (!select.value) return select.focus();
      list.push(fresh(this.known(select.value)));
      this.draw(`op ${pointer}/${list.length - 1}`);
    } } });
    return h("div", { class: "operations" }, items.length > 0 ? h("ol", { "aria-label": title }, items) : null, h("div", { class: "adder" }, select, add));
  }

  operationCard(list, operation, index, pointer) {
    const known = this.known(operation.op);
    const example = known.schema.examples?.[0] ?? {};
    const move = (by) => {
      list.splice(index + by, 0, ...list.splice(index, 1));
      this.draw(`op ${pointer.slice(0, pointer.lastIndexOf("/"))}/${index + by}`);
    };
    const control = (text, name, isOff, click) => h("button", { type: "button", class: "icon", "aria-label": `${name}: ${operation.op}`, title: name, text, disabled: isOff, on: { click } });
    const card = h("li", { class: "operation", tabindex: "-1", "data-act": `op ${pointer}`, "aria-label": `${index + 1}. ${operation.op}` },
      h("div", { class: "operation-head" },
        h("strong", { text: label(operation.op) }), h("span", { class: "hint", text: known.summary }),
        h("span", { class: "controls" },
          control("↑", "Move up", index === 0, () => move(-1)),
          control("↓", "Move down", index === list.length - 1, () => move(1)),
          control("×", "Remove", false, () => { list.splice(index, 1); this.draw(`add ${pointer.slice(0, pointer.lastIndexOf("/"))}`); }))),
      fields(known.schema, this.context(operation.values, pointer), { first: Object.keys(example), foldTitle: "More parameters" }));
    this.placeOf(card, pointer);
    return card;
  }

  /** A place for mistakes of a whole card. */
  placeOf(card, pointer) {
    const place = h("p", { class: "mistake", hidden: true });
    card.append(place);
    this.places.add(pointer, (text) => {
      place.textContent = text;
      place.hidden = !text;
    });
  }
}
