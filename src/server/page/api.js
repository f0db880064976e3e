// The way to the server: requests with the key of this tab, uploads with their progress, server-sent events, images.
// Owns the key; keeps it in sessionStorage only. Knows nothing of elements: whoever can ask for a key hands that in.

const KEY = "minilab.key";
/** Without a sign of life for this long (the server sends one every 15 s) a stream counts as broken. */
const SILENCE_MS = 40_000;
const RECONNECT_MS = 2_000;

let askForKey = () => Promise.reject(new Problem(401, { detail: "This server asks for an API key." }));
let asking = null;

/** What went wrong, as the server tells it (RFC 9457). */
export class Problem extends Error {
  constructor(status, details) {
    super(details.detail || details.title || `The server answered ${status}.`);
    this.status = status;
    this.code = details.code ?? "";
    this.errors = details.errors ?? [];
    this.requestId = details.request_id ?? null;
  }
}

/** The key of this tab, or null. */
export function key() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // Storage is switched off: then a key lives as long as the page's answers do, which is not at all.
  }
}

/** Keeps a key for this tab, or forgets it. */
export function setKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** Hands in who asks people for a key. Many requests may need one at a time; people are asked once. */
export function onKeyNeeded(ask) {
  askForKey = () => {
    asking ??= ask().finally(() => { asking = null; });
    return asking;
  };
}

function authorized(headers = {}) {
  const known = key();
  return known ? { ...headers, authorization: `Bearer ${known}` } : headers;
}

async function problemOf(answer) {
  let details = {};
  try {
    details = await answer.json();
  } catch {
    // Not the server's own words: a proxy's page, or nothing at all.
  }
  return new Problem(answer.status, details);
}

/** Sends a request, with the key if there is one; asks for a key when there must be one. Throws a `Problem` for what is not 2xx. */
export async function request(path, options = {}) {
  const used = key();
  const answer = await fetch(path, { ...options, headers: authorized(options.headers), cache: "no-store" }).catch((error) => {
    // What browsers say of a server that is not there differs, and helps nobody.
    throw error instanceof TypeError ? new Problem(0, { detail: "The server does not answer." }) : error;
  });
  if (answer.ok) return answer;
  if (answer.status === 401 && !options.quiet) {
    if (key() === used) await askForKey();
    return request(path, options);
  }
  throw await problemOf(answer);
}

/** Asks for JSON. */
export const json = async (path, options) => (await request(path, options)).json();

/** A page of jobs: `{jobs, next}`, where `next` is the address of the page after it, or null. */
export async function jobs(path) {
  const answer = await request(path);
  const next = /<([^>]+)>;\s*rel="next"/.exec(answer.headers.get("link") ?? "");
  return { jobs: (await answer.json()).jobs, next: next ? next[1] : null };
}

/**
 * Sends a body and tells how much of it has arrived (0..1). Only XMLHttpRequest knows that. Resolves with the answer's JSON.
 * A connection that breaks is tried again twice: the Idempotency-Key makes that one job.
 */
export async function upload(path, body, { onProgress = () => {}, signal, headers = {} } = {}) {
  const once = () => new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", path);
    for (const [name, value] of Object.entries(authorized(headers))) xhr.setRequestHeader(name, value);
    xhr.responseType = "text";
    xhr.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
    xhr.addEventListener("load", () => {
      let parsed = {};
      try {
        parsed = JSON.parse(xhr.responseText);
      } catch {
        // Told by the status.
      }
      if (xhr.status >= 200 && xhr.status < 300) resolve(parsed);
      else reject(new Problem(xhr.status, parsed));
    });
    xhr.addEventListener("error", () => reject(new Problem(0, { detail: "The connection to the server failed." })));
    xhr.addEventListener("abort", () => reject(new DOMException("Stopped.", "AbortError")));
    signal?.addEventListener("abort", () => xhr.abort(), { once: true });
    xhr.send(body);
  });
  for (let attempt = 1; ; attempt += 1) {
    const used = key();
    try {
      return await once();
    } catch (problem) {
      if (problem.status === 401) {
        if (key() === used) await askForKey();
      } else if (problem.status !== 0 || attempt >= 3) {
        throw problem;
      } else {
        await new Promise((resolve) => setTimeout(resolve, 500 * attempt));
      }
    }
  }
}

/** A key for a request that may be sent twice. */
export function idempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Follows a stream of server-sent events for as long as the page lives, through `fetch`, so that the key goes with it.
 * `onEvent(name, data)`; `onState(isLive)` tells when the stream begins and when it breaks: then somebody should poll.
 */
export async function follow(path, { onEvent, onState }) {
  let last = null;
  for (;;) {
    const silence = new AbortController();
    let timer = null;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
    };
    try {
      alive();
      const headers = last === null ? {} : { "last-event-id": last };
      const answer = await request(path, { headers, signal: silence.signal });
      onState(true);
      last = await readEvents(answer.body, last, alive, onEvent);
    } catch {
      // Told by the state; the next round tries again.
    }
    clearTimeout(timer);
    onState(false);
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
}

async function readEvents(body, last, alive, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return last;
      alive();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = { name: "message", data: "", id: null };
        for (const line of block.split("\n")) {
          const [, field, text] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
          if (field === "event") event.name = text;
          else if (field === "data") event.data += text;
          else if (field === "id") event.id = text;
        }
        if (event.id !== null) last = event.id;
        if (event.data) onEvent(event.name, JSON.parse(event.data));
      }
    }
  } catch {
    return last;
  }
}

/** Where an `<img>` finds these bytes: the address itself or, since an image can't send a key, a blob. */
export async function imageAddress(path) {
  if (!key()) return path;
  return URL.createObjectURL(await (await request(path)).blob());
}

/** Lets go of what `imageAddress` made. */
export function releaseImage(address) {
  if (address?.startsWith("blob:")) URL.revokeObjectURL(address);
}
