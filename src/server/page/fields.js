// Form fields made from JSON Schemas, and the mistakes shown at them.
// A field keeps what was typed, as text, in the object it was given; `valueOf` makes JSON of it. Owns no specification: `builder.js` does.

import { freshId, h } from "./dom.js";

/** The kind of control that a schema asks for. */
export function kindOf(schema) {
  const branches = schema.oneOf ?? [];
  if (schema.enum) return "choice";
  if (schema.type === "boolean") return "boolean";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "array" && schema.items?.properties?.left) return "regions";
  if (branches.some((branch) => branch.properties?.x)) return "gravity";
  if (branches.some((branch) => branch.properties?.url)) return "input";
  if (schema.examples?.includes("#ffffff")) return "color";
  if (branches.some((branch) => branch.properties)) return "object";
  if (branches.length > 0) return "length";
  return "text";
}

/** What was typed, as the JSON that the schema asks for. What can't be is left as text: the server says what is wrong with it. */
export function valueOf(schema, typed) {
  if (typed === undefined || typed === null || typed === "") return undefined;
  switch (kindOf(schema)) {
    case "number": return number(typed);
    case "length": return /^-?\d+$/.test(typed) ? Number(typed) : typed;
    case "object": return object(typed);
    case "regions": {
      const length = (text) => (/^-?\d+$/.test(text ?? "") ? Number(text) : text ?? "");
      const list = typed.map((region) => Object.fromEntries(SIDES.map((side) => [side, length(region[side])])));
      return list.length > 0 ? list : undefined;
    }
    case "gravity": return typeof typed === "object" ? { x: number(typed.x), y: number(typed.y) } : typed;
    case "input": return /^https?:\/\//.test(typed) ? { url: typed } : typed;
    default: return typed;
  }
}

/** A name as it is, `{…}` as the JSON that it is meant to be. */
function object(typed) {
  try {
    return typed.startsWith("{") ? JSON.parse(typed) : typed;
  } catch {
    return typed;
  }
}

const SIDES = ["left", "top", "width", "height"];

function number(typed) {
  const read = Number(typed);
  return String(typed).trim() === "" || Number.isNaN(read) ? typed : read;
}

/** Makes text of JSON, to type into a field. The inverse of `valueOf`. */
export function typedOf(schema, value) {
  switch (kindOf(schema)) {
    case "boolean": return value;
    case "regions": return value.map((region) => Object.fromEntries(SIDES.map((side) => [side, String(region[side])])));
    case "gravity": return typeof value === "object" ? { x: String(value.x), y: String(value.y) } : value;
    case "input": return typeof value === "object" ? value.url : value;
    default: return String(value);
  }
}

/** `from_the_api` → `From the API`'s plain form: `From the api`. */
export const label = (name) => (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");

/** The places where mistakes are shown, by JSON Pointer. A mistake deeper than any place is shown at the nearest one above. */
export class Places {
  constructor() {
    this.places = new Map();
  }

  /** `show(text)` puts a mistake there; the empty text takes it away. */
  add(pointer, show) {
    this.places.set(pointer, show);
  }

  clear() {
    for (const show of this.places.values()) show("");
  }

  /** Shows every mistake; gives back those that have no place. */
  show(mistakes) {
    this.clear();
    const byPlace = new Map();
    const homeless = [];
    for (const mistake of mistakes) {
      let pointer = mistake.pointer;
      while (pointer && !this.places.has(pointer)) pointer = pointer.slice(0, pointer.lastIndexOf("/"));
      if (!pointer) homeless.push(mistake);
      else byPlace.set(pointer, [...(byPlace.get(pointer) ?? []), mistake.detail]);
    }
    for (const [pointer, details] of byPlace) this.places.get(pointer)(details.join("; "));
    return homeless;
  }
}

/** A place for mistakes under any control; opens what it is folded into. */
export function errorPlace(control) {
  const place = h("p", { class: "mistake", id: freshId("mistake"), hidden: true });
  const show = (text) => {
    place.textContent = text;
    place.hidden = !text;
    control.setAttribute("aria-invalid", String(Boolean(text)));
    if (text) for (let fold = place.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  };
  const known = control.getAttribute("aria-describedby");
  control.setAttribute("aria-describedby", known ? `${known} ${place.id}` : place.id);
  return { place, show };
}

/**
 * One field. `context`: `{values, pointer, places, changed, assets}`: `values[name]` holds what is typed, `pointer` is where the object
 * lies, `changed` is called after every change, `assets` are the names that an `input` may take.
 */
export function field(name, schema, context, { isRequired = false } = {}) {
  const { values, pointer, places, changed } = context;
  const id = freshId(name);
  const hint = schema.description ? h("small", { id: `${id}-hint`, class: "hint", text: schema.description }) : null;
  const set = (value) => {
    if (value === "" || value === undefined) delete values[name];
    else values[name] = value;
    changed();
  };
  const shared = { id, "aria-describedby": hint?.id, "aria-required": isRequired ? "true" : null };
  const make = CONTROLS[kindOf(schema)];
  const { control, extra = [], isGroup = false } = make({ schema, shared, value: values[name], set, context, name });
  const { place, show } = errorPlace(control);
  places.add(`${pointer}/${name}`, show);
  const title = isGroup
    ? h("span", { class: "label", id: `${id}-label`, text: label(name) })
    : h("label", { for: id, text: label(name) });
  if (isGroup) {
    control.setAttribute("role", "group");
    control.setAttribute("aria-labelledby", `${id}-label`);
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-required");
  }
  if (isRequired) title.append(h("span", { class: "required", "aria-hidden": "true", text: " *" }));
  return h("div", { class: `field kind-${kindOf(schema)}` }, title, control, extra, place, hint);
}

const spelled = (schema) => (schema.default === undefined ? "" : String(schema.default));
const on = (event, listener) => ({ [event]: listener });

const CONTROLS = {
  number: ({ schema, shared, value, set }) => ({
    control: h("input", {
      ...shared, type: "number", value: value ?? "", min: schema.minimum, max: schema.maximum, placeholder: spelled(schema),
      step: schema.type === "integer" ? 1 : "any", on: on("input", (event) => set(event.target.value)),
    }),
  }),

  text: ({ schema, shared, value, set, name, context }) => {
    const fonts = name === "font" ? context.fonts : null;
    if (fonts) return CONTROLS.choice({ schema: { ...schema, enum: fonts }, shared, value, set });
    const isLong = schema.maxLength > 1024 && name === "text";
    const control = h(isLong ? "textarea" : "input", {
      ...shared, type: isLong ? null : "text", rows: isLong ? 2 : null, maxlength: schema.maxLength, placeholder: spelled(schema),
      spellcheck: isLong ? "true" : "false", on: on("input", (event) => set(event.target.value)),
    });
    control.value = value ?? "";
    return { control };
  },

  length: ({ schema, shared, value, set }) => ({
    control: h("input", {
      ...shared, type: "text", value: value ?? "", placeholder: spelled(schema) || "px or %", spellcheck: "false",
      on: on("input", (event) => set(event.target.value.trim())),
    }),
  }),

  object: ({ schema, shared, value, set, name, context }) => {
    const names = name === "destination" ? context.destinations : [];
    const list = h("datalist", { id: `${shared.id}-list` }, names.map((known) => h("option", { value: known })));
    const { control } = CONTROLS.length({ schema, shared: { ...shared, list: list.id }, value, set });
    control.placeholder = "name or {…}";
    return { control, extra: [list] };
  },

  choice: ({ schema, shared, value, set }) => {
    const control = h("select", { ...shared, on: on("change", (event) => set(event.target.value)) });
    control.append(h("option", { value: "", text: schema.default ?? "not set" }));
    for (const word of schema.enum.filter((word) => word !== schema.default)) control.append(h("option", { value: word, text: word }));
    control.value = value === schema.default ? "" : value ?? "";
    return { control };
  },

  boolean: ({ schema, shared, value, set }) => {
    const fallback = schema.default ?? false;
    const control = h("input", { ...shared, type: "checkbox", on: on("change", (event) => set(event.target.checked === fallback ? "" : event.target.checked)) });
    control.checked = value ?? fallback;
    return { control };
  },

  color: ({ schema, shared, value, set }) => {
    const text = h("input", {
      ...shared, type: "text", value: value ?? "", placeholder: spelled(schema) || "#rrggbb or a name", spellcheck: "false",
      on: on("input", (event) => {
        set(event.target.value.trim());
        follow();
      }),
    });
    const picker = h("input", {
      type: "color", "aria-label": `Pick the colour: ${shared.id.split("-")[0].replaceAll("_", " ")}`, tabindex: "-1",
      on: on("input", (event) => {
        text.value = event.target.value;
        set(event.target.value);
      }),
    });
    const follow = () => { 
      const shown = text.value || text.placeholder;
      if (/^#[0-9a-f]{6}$/i.test(shown)) picker.value = shown;
    };
    follow();
    return { control: text, extra: [picker] };
  },

  gravity: ({ schema, shared, value, set }) => {
    const words = schema.oneOf.find((branch) => branch.enum).enum;
    const point = h("div", { class: "pair", hidden: typeof value !== "object" });
    const sides = ["x", "y"].map((side) => h("input", {
      type: "number", min: 0, max: 1, step: "any", value: typeof value === "object" ? value[side] : "0.5", "aria-label": `Focal point ${side}, 0 to 1`,
      on: on("input", () => set({ x: sides[0].value, y: sides[1].value })),
    }));
    point.append(...sides);
    const { control } = CONTROLS.choice({ schema: { enum: words, default: schema.default }, shared, value: typeof value === "object" ? "" : value, set: () => {} });
    control.append(h("option", { value: "focal point", text: "focal point…" }));
    if (typeof value === "object") control.value = "focal point";
    control.addEventListener("change", () => {
      point.hidden = control.value !== "focal point";
      set(point.hidden ? control.value : { x: sides[0].value, y: sides[1].value });
    });
    return { control, extra: [point] };
  },

  input: ({ shared, value, set, context }) => {
    const list = h("datalist", { id: `${shared.id}-list` }, context.assets.names().map((name) => h("option", { value: name })));
    const text = h("input", {
      ...shared, type: "text", value: value ?? "", placeholder: "asset or https://…", list: list.id, spellcheck: "false",
      on: on("input", (event) => set(event.target.value.trim())),
    });
    const file = h("input", {
      type: "file", accept: "image/*", class: "visually-hidden", id: `${shared.id}-file`,
      on: on("change", () => {
        if (!file.files[0]) return;
        text.value = context.assets.attach(file.files[0]);
        set(text.value);
      }),
    });
    return { control: text, extra: [list, h("span", { class: "attach" }, file, h("label", { for: file.id, class: "button small", text: "Attach an image…" }))] };
  },

  regions: ({ shared, value, set }) => {
    const regions = value ?? [];
    const group = h("div", { ...shared, class: "regions" });
    const draw = () => {
      const heads = h("div", { class: "region", "aria-hidden": "true" }, SIDES.map((side) => h("small", { class: "soft", text: side })));
      group.replaceChildren(
        ...(regions.length > 0 ? [heads] : []),
        ...regions.map((region, index) => h("div", { class: "region" },
          SIDES.map((side) => h("input", {
            type: "text", value: region[side] ?? "", placeholder: side, "aria-label": `Region ${index + 1}, ${side} in px or %`,
            on: on("input", (event) => { region[side] = event.target.value.trim(); set(regions); }),
          })),
          h("button", { type: "button", class: "icon", "aria-label": `Remove region ${index + 1}`, text: "×", on: on("click", () => { regions.splice(index, 1); set(regions.length ? regions : ""); draw(); }) }))),
        h("button", {
          type: "button", class: "small", text: regions.length ? "Add a region" : "Only in a region…",
          on: on("click", () => { regions.push({ left: "25%", top: "25%", width: "50%", height: "50%" }); set(regions); draw(); }),
        }),
      );
    };
    draw();
    return { control: group, isGroup: true };
  },
};

/** The fields of an object's schema: the important ones at once, the others folded away. */
export function fields(schema, context, { first, foldTitle = "More" } = {}) {
  const required = schema.required ?? [];
  const shown = [];
  const folded = [];
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    if (property.const !== undefined) continue;
    const isRequired = required.includes(name);
    const isFirst = isRequired || (first ? first.includes(name) : true) || context.values[name] !== undefined;
    (isFirst ? shown : folded).push(field(name, property, context, { isRequired }));
  }
  const parts = [];
  if (shown.length > 0) parts.push(h("div", { class: "fields" }, shown));
  if (folded.length > 0) parts.push(h("details", { class: "fold" }, h("summary", { text: foldTitle }), h("div", { class: "fields" }, folded)));
  return parts;
}

/** The object of what was typed. */
export function objectOf(schema, values) {
  const made = {};
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const value = valueOf(property, values[name]);
    if (value !== undefined) made[name] = value;
  }
  return made;
}
