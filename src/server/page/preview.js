// What the builder asks for, as JSON and as a command to paste, and what the server says to it before anything is sent for good.
// Owns the two previews and the dry run behind them.

import * as api from "./api.js";
import { byId, copy, size } from "./dom.js";

/** Larger images are not sent for a dry run; then only the specification is judged. */
const DRY_RUN_BYTES_MAX = 8_000_000;
const PAUSE_MS = 350;

/** A word that a shell takes as it is. */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The command that does what the form does. A key is named, never shown. */
export function curl({ spec, sourceUrl, fileName, assets }) {
  const lines = [`curl ${quoted(`${location.origin}/v1/jobs`)}`];
  if (api.key()) lines.push(`-H "Authorization: Bearer $MINILAB_API_KEY"`);
  if (sourceUrl) {
    lines.push(`-H 'Content-Type: application/json'`, `-d ${quoted(JSON.stringify({ source: { url: sourceUrl }, ...spec }))}`);
  } else {
    lines.push(`--form-string job=${quoted(JSON.stringify(spec))}`, `-F ${quoted(`file=@"${fileName ?? "photo.jpg"}"`)}`);
    for (const [name, file] of assets) lines.push(`-F ${quoted(`${name}=@"${file.name}"`)}`);
  }
  return lines.join(" \\\n  ");
}

/** The body of a submit: a form where a file goes with it, JSON where the server shall fetch the image. */
export function bodyOf({ spec, sourceUrl, file, assets }) {
  if (sourceUrl) return { body: JSON.stringify({ source: { url: sourceUrl }, ...spec }), headers: { "content-type": "application/json" } };
  const form = new FormData();
  form.append("job", JSON.stringify(spec));
  form.append("file", file, file.name);
  for (const [name, asset] of assets) form.append(name, asset, asset.name);
  return { body: form, headers: {} };
}

function describe(plan) {
  const outputs = plan.outputs.map(({ name, format, width, height }) => `${name}: ${format ?? "the source's format"}${width ? ` ${width}×${height}` : ""}`);
  const memory = plan.memory_bytes ? `about ${size(plan.memory_bytes)} of memory` : "";
  return [outputs.join(" · "), memory].filter(Boolean).join(" — ");
}

export class Preview {
  /** `draft()` gives `{spec, sourceUrl, file, assets}` as they stand; `onMistakes(list)` shows mistakes at fields and gives back the rest. */
  constructor({ draft, onMistakes }) {
    this.draft = draft;
    this.onMistakes = onMistakes;
    this.timer = null;
    this.running = null;
    for (const kind of ["json", "curl"]) byId(`copy-${kind}`).addEventListener("click", () => copy(byId(`preview-${kind}`).textContent, byId(`preview-${kind}`)));
  }

  /** Draws the previews now and asks the server soon. */
  update() {
    const draft = this.draft();
    const shown = draft.sourceUrl ? { source: { url: draft.sourceUrl }, ...draft.spec } : draft.spec;
    byId("preview-json").textContent = JSON.stringify(shown, null, 2);
    byId("preview-curl").textContent = curl({ ...draft, fileName: draft.file?.name });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(), PAUSE_MS);
  }

  /** Asks the server what would happen. */
  async check() {
    this.running?.abort();
    this.running = new AbortController();
    const { signal } = this.running;
    const draft = this.draft();
    const sendsFile = draft.file && !draft.sourceUrl && draft.file.size + draft.assets.reduce((sum, [, file]) => sum + file.size, 0) <= DRY_RUN_BYTES_MAX;
    // Without an image at hand, an address that is never fetched stands for it: a dry run fetches nothing.
    const sourceUrl = draft.sourceUrl || (sendsFile ? null : "https://example.com/photo.jpg");
    try {
      const plan = await api.json("/v1/jobs?dry_run=true", { method: "POST", ...bodyOf({ ...draft, sourceUrl }), signal });
      this.onMistakes([]);
      this.tell(describe(plan), plan.warnings.map((warning) => warning.detail));
    } catch (problem) {
      if (signal.aborted) return;
      const attached = new Set(draft.assets.map(([name]) => name));
      // An attached image is not there when only the specification is sent.
      const mistakes = (problem.errors ?? []).filter(({ pointer, detail }) => sendsFile || !(pointer.endsWith("/input") && [...attached].some((name) => detail.includes(name))));
      const rest = this.onMistakes(mistakes);
      const isOnlyAttached = problem.errors?.length > 0 && mistakes.length === 0;
      this.tell("", isOnlyAttached ? [] : [...(mistakes.length > 0 ? [] : [problem.message]), ...rest.map(({ pointer, detail }) => `${pointer}: ${detail}`)], !isOnlyAttached);
    }
  }

  tell(text, remarks, isBad = false) {
    const place = byId("plan");
    place.classList.toggle("bad", isBad);
    const mistakes = isBad && remarks.length === 0 ? ["The marked fields need another value."] : remarks;
    place.textContent = [text, ...mistakes].filter(Boolean).join("\n");
  }
}
