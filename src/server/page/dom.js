// What the pages build with: elements whose text is only ever text, and numbers as people read them.
// Owns no state. Every other module uses it.

/** Finds an element of the document by its id. */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an element. `props`: attributes; `text`; `on` with listeners by event; booleans set or leave out an attribute.
 * Children are nodes or text; what is null, undefined or false is left out.
 */
export function h(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "text") made.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Makes an element of an SVG drawing. */
export function svg(tag, props = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(props)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

let counter = 0;
/** An id that no other element has. */
export const freshId = (word) => `${word}-${(counter += 1)}`;

/** Bytes as people read them; units of 1000, as file managers and the command line show them. */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes.toFixed(unit && bytes < 10 ? 1 : 0)} ${units[unit]}`;
}

/** Milliseconds as people read them. */
export function duration(ms) {
  if (ms < 1000) return `${ms < 10 && ms % 1 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How the size of a result compares with its source's: `−92 %`, `+4 %`. */
export function saved(before, after) {
  if (!before) return "";
  const change = Math.round((after / before - 1) * 100);
  return change === 0 ? "±0 %" : `${change < 0 ? "−" : "+"}${Math.abs(change)} %`;
}

/** A moment, short for today's and with the date for others. */
export function moment(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return "";
  const clock = time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  if (time.toDateString() === new Date().toDateString()) return clock;
  return `${time.toLocaleDateString([], { day: "numeric", month: "short" })} ${clock}`;
}

/** A moment as an element that machines read too. */
export const timeOf = (text) => h("time", { datetime: text, title: new Date(text).toLocaleString(), text: moment(text) });

/** The end of an id: UUIDv7 begin alike, and end in what tells them apart. */
export const shortId = (id) => id.slice(-12);

/** Says something to people, and to screen readers without taking the focus away. */
export function say(text, isBad = false) {
  const place = byId("message");
  place.classList.toggle("bad", isBad);
  place.textContent = text;
}

/** Puts text into the clipboard; where the browser doesn't let a page do that, the text is selected for the next key stroke. */
export async function copy(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(shown);
    say("Selected: press Ctrl+C to copy.");
  }
}

/** Replaces an element and keeps the focus on the control with the same `data-act`, if it was inside. */
export function swap(old, made) {
  const act = old.contains(document.activeElement) ? document.activeElement.getAttribute("data-act") : null;
  old.replaceWith(made);
  if (act) (made.querySelector(`[data-act="${CSS.escape(act)}"]`) ?? made.querySelector("a, button"))?.focus();
}
