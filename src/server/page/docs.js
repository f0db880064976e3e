// The search of the API reference: shows the cards that have every word, and counts them.
// Owns nothing but what is hidden; the page is whole without it.

import { h } from "./dom.js";

const cards = [...document.querySelectorAll(".card")].map((card) => ({ card, words: `${card.id} ${card.textContent}`.toLowerCase() }));
const parts = [...document.querySelectorAll(".part")];
const found = document.getElementById("found");

function search(text) {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const { card, words } of cards) {
    card.hidden = !wanted.every((word) => words.includes(word));
    if (!card.hidden) count += 1;
  }
  for (const part of parts) part.hidden = !part.querySelector(".card:not([hidden])");
  found.textContent = wanted.length > 0 ? `${count} of ${cards.length} entries` : "";
}

const place = document.getElementById("search");
const input = h("input", { type: "search", id: "search-input", placeholder: "Search  ( / )", on: { input: () => search(input.value) } });
place.append(h("label", { for: "search-input", class: "visually-hidden", text: "Search the reference" }), input);
place.hidden = false;
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, textarea, select")) return;
  event.preventDefault();
  input.focus();
});
// A link to a card that the search has hidden shows everything again.
addEventListener("hashchange", () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target?.closest("[hidden]")) return;
  input.value = "";
  search("");
  target.scrollIntoView();
});
