// The dialog that asks for an API key, and the button that changes or forgets it.
// Owns the dialog; `api.js` owns the key.

import * as api from "./api.js";
import { byId, say } from "./dom.js";

/** Asks people; resolves when a key was given, rejects when they won't. */
function ask() {
  const dialog = byId("key-dialog");
  const input = byId("key-input");
  byId("key-wrong").hidden = !api.key();
  input.value = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.addEventListener("close", () => {
      input.value = "";
      update();
      if (dialog.returnValue === "use") resolve();
      else reject(new api.Problem(401, { detail: "This server asks for an API key." }));
    }, { once: true });
  });
}

function update() {
  const button = byId("key-button");
  button.hidden = !api.key();
  // A link can't send a key.
  byId("metrics-link").hidden = Boolean(api.key());
}

/** Makes the dialog work. */
export function start() {
  const dialog = byId("key-dialog");
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = byId("key-input").value.trim();
    if (!given) return;
    api.setKey(given);
    dialog.close("use");
  });
  byId("key-cancel").addEventListener("click", () => dialog.close("cancel"));
  byId("key-button").addEventListener("click", () => {
    api.setKey(null);
    update();
    say("The key is forgotten.");
    location.reload();
  });
  api.onKeyNeeded(() => {
    dialog.returnValue = "";
    return ask();
  });
  update();
}
