// The dialog that asks for an API key, and the button that gives or forgets it.
// Owns the dialog; `api.js` owns the key.

import * as api from "./api.js";
import { byId, say } from "./dom.js";

/** Who would not give a key is not asked again, unless by the button. */
let isDeclined = false;
const refusal = () => new api.Problem(401, { detail: "This server asks for an API key." });

/** Asks people; resolves when a key was given, rejects when they won't. */
function ask() {
  const dialog = byId("key-dialog");
  const input = byId("key-input");
  byId("key-wrong").hidden = !api.key();
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.addEventListener("close", () => {
      input.value = "";
      isDeclined = dialog.returnValue !== "use";
      update();
      if (isDeclined) reject(refusal());
      else resolve();
    }, { once: true });
  });
}

function update() {
  const button = byId("key-button");
  button.hidden = !api.key() && !isDeclined;
  button.textContent = api.key() ? "Forget the key" : "Enter a key";
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
  byId("key-button").addEventListener("click", async () => {
    if (api.key()) {
      api.setKey(null);
      say("The key is forgotten.");
    } else {
      try {
        await ask();
      } catch {
        return; // Declined again.
      }
    }
    location.reload();
  });
  api.onKeyNeeded(() => (isDeclined ? Promise.reject(refusal()) : ask()));
  update();
}
