// The form: images chosen, dropped or pasted, what goes on with each upload, and the way into the queue.
// Owns the chosen files and the uploads; the specification comes from `builder.js`.

import * as api from "./api.js";
import { byId, h, say, shortId, size } from "./dom.js";
import { Preview, bodyOf } from "./preview.js";

/** Uploads at a time: one more than fills the line. */
const UPLOADS_AT_A_TIME = 2;

export class Submit {
  /** `onJob(job, name)` is told of every accepted job and of what it was made from. */
  constructor({ builder, onJob }) {
    this.builder = builder;
    this.onJob = onJob;
    this.files = [];
    this.preview = new Preview({ draft: () => this.draft(), onMistakes: (mistakes) => this.showMistakes(mistakes) });
    this.wire();
    this.drawFiles();
  }

  draft() {
    return { spec: this.builder.spec(), sourceUrl: byId("source-url").value.trim(), file: this.files[0]?.file, assets: this.builder.usedFiles() };
  }

  /** To be called when the specification has changed. */
  update() {
    this.preview.update();
  }

  showMistakes(mistakes) {
    const ofUrl = mistakes.filter(({ pointer }) => pointer.startsWith("/source"));
    byId("source-mistake").textContent = ofUrl.map(({ detail }) => detail).join("; ");
    byId("source-mistake").hidden = ofUrl.length === 0;
    byId("source-url").setAttribute("aria-invalid", String(ofUrl.length > 0));
    return this.builder.showMistakes(mistakes.filter((mistake) => !ofUrl.includes(mistake)));
  }

  wire() {
    const input = byId("file");
    input.addEventListener("change", () => {
      this.add(input.files);
      input.value = "";
    });
    byId("source-url").addEventListener("input", () => this.update());
    byId("submit").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    // Files may be dropped anywhere: a miss must not make the browser leave the page.
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        const isLeaving = kind === "drop" || (kind === "dragleave" && !event.relatedTarget);
        document.body.classList.toggle("dragging", !isLeaving);
        if (kind === "drop") this.add(event.dataTransfer.files);
      });
    }
    document.addEventListener("paste", (event) => {
      if (event.clipboardData?.files.length) this.add(event.clipboardData.files);
    });
  }

  add(files) {
    for (const file of files) this.files.push({ file, address: file.type.startsWith("image/") ? URL.createObjectURL(file) : null });
    this.drawFiles();
    say(this.files.length === 1 ? `${this.files[0].file.name} is ready to submit.` : `${this.files.length} images are ready to submit.`);
  }

  drawFiles() {
    const items = this.files.map((entry, index) => h("li", { class: "chosen" },
      entry.address ? h("img", { src: entry.address, alt: "", width: 40, height: 40 }) : h("span", { class: "no-thumb", "aria-hidden": "true" }),
      h("span", { class: "grow" }, h("span", { class: "file-name", text: entry.file.name }), h("small", { text: size(entry.file.size) })),
      h("button", { type: "button", class: "icon", "aria-label": `Leave out ${entry.file.name}`, text: "×", on: { click: () => this.remove(index) } })));
    byId("chosen").replaceChildren(...items);
    byId("send").textContent = this.files.length > 1 ? `Submit ${this.files.length} images` : "Submit";
    this.update();
  }

  remove(index) {
    const [entry] = this.files.splice(index, 1);
    if (entry.address) URL.revokeObjectURL(entry.address);
    this.drawFiles();
    (byId("chosen").querySelectorAll("button")[Math.min(index, this.files.length - 1)] ?? byId("file")).focus();
  }

  /** Sends everything that is chosen. */
  async send() {
    const { spec, sourceUrl, assets } = this.draft();
    if (sourceUrl) {
      byId("source-url").value = "";
      this.update();
      return this.sendOne({ name: sourceUrl, bytes: 0, ...bodyOf({ spec, sourceUrl, assets }) });
    }
    if (this.files.length === 0) {
      say("Choose an image first, or give an address.", true);
      return byId("file").focus();
    }
    const waiting = this.files.map(({ file, address }) => ({ name: file.name, bytes: file.size, address, ...bodyOf({ spec, file, assets }) }));
    this.files = [];
    this.drawFiles();
    const lanes = Array.from({ length: Math.min(UPLOADS_AT_A_TIME, waiting.length) }, async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) await this.sendOne(next);
    });
    await Promise.all(lanes);
  }

  /** Sends one image and shows how far it is. */
  async sendOne({ name, bytes, address, body, headers }) {
    const stop = new AbortController();
    const bar = h("progress", { max: 1, value: 0, "aria-label": `Upload of ${name}` });
    const state = h("small", { text: bytes ? `sending ${size(bytes)}` : "sending" });
    const button = h("button", { type: "button", class: "icon", "aria-label": `Stop the upload of ${name}`, text: "×", on: { click: () => stop.abort() } });
    const item = h("li", { class: "chosen" },
      address ? h("img", { src: address, alt: "", width: 40, height: 40 }) : h("span", { class: "no-thumb", "aria-hidden": "true" }),
      h("span", { class: "grow" }, h("span", { class: "file-name", text: name }), state), bar, button);
    byId("uploads").prepend(item);
    const finish = (...parts) => {
      if (address) URL.revokeObjectURL(address);
      bar.remove();
      item.querySelector("img")?.remove();
      item.querySelector(".no-thumb")?.remove();
      state.replaceChildren(...parts);
      button.setAttribute("aria-label", `Take ${name} off the list`);
      button.addEventListener("click", () => item.remove());
    };
    try {
      const onProgress = (share) => {
        bar.value = share;
        state.textContent = share < 1 ? `${Math.round(share * 100)} % of ${size(bytes)} sent` : "sent; the server is storing it";
      };
      const job = await api.upload("/v1/jobs", body, { onProgress, signal: stop.signal, headers: { ...headers, "idempotency-key": api.idempotencyKey() } });
      say(`${name} was accepted.`);
      this.onJob(job, name);
      finish("accepted as ", h("a", { href: `#/jobs/${job.id}`, text: shortId(job.id) }));
      // What was accepted is in the list below.
      setTimeout(() => { if (!item.contains(document.activeElement)) item.remove(); }, 4000);
    } catch (problem) {
      item.classList.add("refused");
      if (problem.name === "AbortError") return finish("stopped");
      const rest = this.showMistakes(problem.errors ?? []);
      const details = [problem.message, ...rest.map(({ pointer, detail }) => `${pointer}: ${detail}`)].join(" ");
      say(`${name}: ${details}`, true);
      finish(details, " ", problem.code ? h("a", { href: `/problems/${encodeURIComponent(problem.code)}`, text: "What to do" }) : "");
    }
  }
}
