// The verbs on a job as buttons: cancel, retry, delete.
// Owns no job; tells those who show one what became of it.

import * as api from "./api.js";
import { h, say, shortId } from "./dom.js";

/** How long the first press on what can't be undone waits for the second. */
const SURE_MS = 4000;

/** Runs what a button is for, once at a time, and says what went wrong. */
export async function actOnce(button, run) {
  button.disabled = true;
  try {
    await run();
  } catch (problem) {
    say(problem.message, true);
  }
  button.disabled = false;
}

function button(label, job, run) {
  const made = h("button", {
    type: "button", class: "small", "data-act": label.toLowerCase(), "aria-label": `${label} job ${shortId(job.id)}`, text: label,
    on: { click: () => actOnce(made, run) },
  });
  return made;
}

/** The buttons that make sense for a job as it stands. */
export function actionButtons(job, { onJob, onGone }) {
  const path = `/v1/jobs/${job.id}`;
  const change = (verb, done) => async () => {
    onJob(await api.json(`${path}/${verb}`, { method: "POST" }));
    say(`Job ${shortId(job.id)} ${done}.`);
  };
  const buttons = [];
  if (job.status === "queued" || job.status === "running") buttons.push(button("Cancel", job, change("cancel", "is being cancelled")));
  if (job.status === "failed" || job.status === "cancelled") buttons.push(button("Retry", job, change("retry", "is queued again")));
  buttons.push(deleteButton(job, path, onGone));
  return buttons;
}

/** What can't be undone: the button asks, in its own place, and forgets the question by itself. `words` is what it does, in full. */
export function sureButton(label, act, words, run) {
  let isSure = false;
  const made = h("button", { type: "button", class: "small", "data-act": act, "aria-label": words, text: label, on: { click: () => {
    if (isSure) return actOnce(made, run);
    isSure = true;
    made.textContent = "Really?";
    made.setAttribute("aria-label", `Really? ${words}`);
    setTimeout(() => {
      isSure = false;
      made.textContent = label;
      made.setAttribute("aria-label", words);
    }, SURE_MS);
  } } });
  return made;
}

function deleteButton(job, path, onGone) {
  const made = sureButton("Delete", "delete", `Delete job ${shortId(job.id)}`, async () => {
    await api.request(path, { method: "DELETE" });
    onGone(job.id);
    say(`Job ${shortId(job.id)} is deleted.`);
  });
  made.classList.add("quiet");
  return made;
}
