// Images of the server on the page: thumbnails, and the slider that compares before and after.
// Owns the blobs that stand for them when a key is needed; whoever makes a picture releases it.

import * as api from "./api.js";
import { freshId, h } from "./dom.js";

const SHOWABLE = new Set(["jpeg", "png", "webp", "avif", "gif", "bmp", "svg"]);

/** Whether browsers show images of this format. */
export const isShowable = ({ format }) => SHOWABLE.has(format);

/** An `<img>` of bytes that may need a key. Hidden until they are there, and when they are not to be had. */
export class Picture {
  constructor(path, { alt, className, onError = () => {} }) {
    this.path = path;
    this.address = null;
    this.isReleased = false;
    this.element = h("img", { class: className, alt, decoding: "async", loading: "lazy" });
    this.element.addEventListener("error", () => {
      this.element.classList.add("broken");
      onError();
    });
    api.imageAddress(path).then((address) => {
      if (this.isReleased) return api.releaseImage(address);
      this.address = address;
      this.element.src = address;
    }, () => {
      this.element.classList.add("broken");
      onError();
    });
  }

  release() {
    this.isReleased = true;
    api.releaseImage(this.address);
  }
}

/** Before and after in one frame, with a slider between them. `pictures` collects what must be released. */
export function compare({ before, after, name, ratio, pictures }) {
  const top = new Picture(after, { alt: `${name}, after`, className: "after" });
  pictures.push(top);
  const frame = h("div", { class: "compare" }, top.element);
  frame.style.setProperty("--ratio", String(ratio));
  if (!before) return frame;
  const id = freshId("compare");
  const slider = h("input", { type: "range", min: 0, max: 100, value: 50, id, "aria-valuetext": "half" });
  const slide = () => {
    frame.style.setProperty("--cut", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} % before, ${100 - slider.value} % after`);
  };
  slider.addEventListener("input", slide);
  // The source may be gone already, or be of a format that browsers don't show: then there is only the result.
  const giveUp = () => {
    bottom.element.remove();
    control.remove();
    frame.classList.remove("both");
  };
  const bottom = new Picture(before, { alt: `${name}, before`, className: "before", onError: () => giveUp() });
  pictures.push(bottom);
  const control = h("div", { class: "compare-control" }, h("span", { "aria-hidden": "true", text: "before" }), h("label", { class: "visually-hidden", for: id, text: `Compare before and after: ${name}` }), slider, h("span", { "aria-hidden": "true", text: "after" }));
  frame.classList.add("both");
  frame.append(bottom.element, h("span", { class: "cut", "aria-hidden": "true" }));
  slide();
  frame.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && event.buttons === 0) return;
    const box = frame.getBoundingClientRect();
    slider.value = Math.round(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * 100);
    slide();
  });
  return h("div", { class: "comparison" }, frame, control);
}
