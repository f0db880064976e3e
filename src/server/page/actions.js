// The verbs on a job as buttons: cancel, retry, delete.
// Owns no job; tells those who show one what became of it.

import * as api from "./api.js";
import { h, say, shortId } from "./dom.js";

/** How long a first press on Delete waits for the second. */
const SURE_MS = 4000;

function button(label, job, run) {
  const made = h("button", {
    type: "button", class: "small", "data-act": label.toLowerCase(), "aria-label": `${label} job ${shortId(job.id)}`, text: label,
    on: { click: async () => {
      made.disabled = true;
      try {
        await run();
      } catch (problem) {
        say(problem.message, true);
      }
      made.disabled = false;
    } },
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

/** Deleting can't be undone: the button asks, in its own place, and forgets the question by itself. */
function deleteButton(job, path, onGone) {
  let isSure = false;
  const made = button("Delete", job, async () => {
    if (!isSure) {
      isSure = true;
      made.textContent = "Really?";
      made.setAttribute("aria-label", `Really delete job ${shortId(job.id)}`);
      setTimeout(() => {
        isSure = false;
        made.textContent = "Delete";
        made.setAttribute("aria-label", `Delete job ${shortId(job.id)}`);
      }, SURE_MS);
      return;
    }
    await api.request(path, { method: "DELETE" });
    onGone(job.id);
    say(`Job ${shortId(job.id)} is deleted.`);
  });
  made.classList.add("quiet");
  return made;
}
