"use strict";
const el = (id) => document.getElementById(id);
const shown = new Map();
const MAX = 100;

function node(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function size(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 1000 && unit < 3) { bytes /= 1000; unit += 1; }
  return `${bytes.toFixed(unit && bytes < 10 ? 1 : 0)} ${units[unit]}`;
}

function row(job) {
  const tr = node("tr");
  const id = node("td");
  id.append(node("a", job.id.slice(-12), { href: job.links.self, title: job.id }));
  const status = node("td");
  status.append(node("span", job.status, { class: `status ${job.status}` }));
  if (job.status === "running") status.append(node("progress", undefined, { max: "1", value: String(job.progress) }));
  if (job.status === "queued" && job.queue_position) status.append(` ${job.queue_position}. in line`);
  if (job.error) status.append(node("div", job.error.detail));
  const source = node("td", job.source ? `${job.source.format} ${job.source.width}×${job.source.height}, ${size(job.source.bytes)}` : "");
  const outputs = node("td");
  for (const output of job.outputs) {
    const line = node("div");
    line.append(node("a", output.name, { href: output.url, target: "_blank", rel: "noopener" }));
    line.append(` ${output.format} ${output.width}×${output.height}, ${size(output.bytes)}`);
    outputs.append(line);
  }
  const when = node("td", new Date(job.created_at).toLocaleTimeString());
  const actions = node("td");
  const act = (label, path, method) => {
    const button = node("button", label, { type: "button" });
    button.addEventListener("click", () => send(path, method));
    actions.append(button, " ");
  };
  if (job.status === "queued" || job.status === "running") act("Cancel", job.links.cancel, "POST");
  if (job.status === "failed" || job.status === "cancelled") act("Retry", `${job.links.self}/retry`, "POST");
  if (job.finished_at) act("Delete", job.links.self, "DELETE");
  tr.append(id, status, source, outputs, when, actions);
  return tr;
}

function show(job) {
  const known = shown.get(job.id);
  if (known && known.version > job.version) return;
  const tr = row(job);
  if (known) known.tr.replaceWith(tr);
  else if ([...shown.keys()].every((id) => id < job.id)) el("jobs").prepend(tr);
  else el("jobs").append(tr);
  shown.set(job.id, { version: job.version, tr });
  if (shown.size > MAX) {
    const oldest = [...shown.keys()].sort()[0];
    shown.get(oldest).tr.remove();
    shown.delete(oldest);
  }
  el("empty").hidden = shown.size > 0;
}

function say(text, bad) {
  el("message").textContent = text;
  el("message").classList.toggle("bad", Boolean(bad));
}

async function explain(answer) {
  try {
    const problem = await answer.json();
    const errors = (problem.errors || []).map((error) => `${error.pointer}: ${error.detail}`);
    return [problem.detail, ...errors].join("\n");
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

async function send(path, method) {
  const answer = await fetch(path, { method });
  if (!answer.ok) return say(await explain(answer), true);
  if (method === "DELETE") {
    const id = path.split("/").pop();
    shown.get(id)?.tr.remove();
    shown.delete(id);
    el("empty").hidden = shown.size > 0;
  } else {
    show(await answer.json());
  }
}

async function submit(event) {
  event.preventDefault();
  const query = new URLSearchParams({ format: el("format").value });
  for (const name of ["width", "height"]) if (el(name).value) query.set(name, el(name).value);
  if (el("width").value || el("height").value) query.set("fit", el("fit").value);
  const files = [...el("file").files];
  let done = 0;
  for (const file of files) {
    say(`Sending ${file.name} (${++done} of ${files.length}) …`);
    try {
      const answer = await fetch(`/v1/jobs?${query}`, { method: "POST", body: file });
      if (!answer.ok) return say(`${file.name}: ${await explain(answer)}`, true);
      show(await answer.json());
    } catch (error) {
      return say(`${file.name}: ${error.message}`, true);
    }
  }
  say(files.length === 1 ? "Submitted." : `${files.length} images submitted.`);
}

async function load() {
  const answer = await fetch(`/v1/jobs?limit=${MAX}`);
  if (!answer.ok) return say(await explain(answer), true);
  for (const { tr } of shown.values()) tr.remove();
  shown.clear();
  for (const job of (await answer.json()).jobs) show(job);
  el("empty").hidden = shown.size > 0;
}

async function stats() {
  try {
    const s = await (await fetch("/v1/stats")).json();
    el("stats").textContent = `${s.jobs.queued} queued · ${s.jobs.running} running · ${s.workers.busy}/${s.workers.total} threads busy · ${s.finished_last_minute} finished in the last minute`;
  } catch {
    el("stats").textContent = "The server does not answer.";
  }
}

function listen() {
  const events = new EventSource("/v1/events");
  events.addEventListener("job", (event) => show(JSON.parse(event.data)));
  events.addEventListener("reset", load);
}

async function formats() {
  const { outputs } = await (await fetch("/v1/capabilities")).json();
  for (const format of outputs) el("format").append(node("option", format.name));
}

el("submit").addEventListener("submit", submit);
el("file").addEventListener("change", () => {
  const names = [...el("file").files].map((file) => file.name);
  el("chosen").textContent = names.join(", ") || "Choose images, or drop them here";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  el("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    el("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") {
      el("file").files = event.dataTransfer.files;
      el("file").dispatchEvent(new Event("change"));
    }
  });
}
formats().catch(() => {});
listen();
load().catch((error) => say(error.message, true));
stats();
setInterval(stats, 2000);
