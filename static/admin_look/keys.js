// Reviewing votes by keyboard. Which key does what stands in the page, in the help that "?" shows:
// an element with data-key and data-do. What is done is a function below, or else a click on the
// element with that data-go, in the vote that has the focus or anywhere on the page.
"use strict";

const help = document.getElementById("keys");
const keys = new Map([...help.querySelectorAll("[data-key]")].map((row) => [row.dataset.key, row.dataset.do]));
const rows = [...document.querySelectorAll("#result_list tbody tr")];
const PLACE = "keys-place";

const here = () => rows.findIndex((row) => row.contains(document.activeElement));

function focusRow(index) {
  const row = rows[Math.max(0, Math.min(index, rows.length - 1))];
  row?.querySelector(".field-words a").focus();
  row?.scrollIntoView({ block: "nearest" });
}

// Apply an action of the list to what is selected, or else to the vote that has the focus.
function apply(action) {
  const button = document.querySelector(`.actions [data-action="${action}"]`);
  const row = rows[here()];
  if (!document.querySelector(".action-select:checked")) row?.querySelector(".action-select").click();
  if (!button || !document.querySelector(".action-select:checked")) return;
  sessionStorage.setItem(PLACE, String(Math.max(0, here())));
  button.click();
}

const deeds = {
  down: () => focusRow(here() + 1),
  up: () => focusRow(here() - 1),
  select: () => rows[here()]?.querySelector(".action-select").click(),
  search: () => document.getElementById("searchbar").focus(),
  help: () => help.showModal(),
};
if (rows.length > 0) {
  deeds.resolve = () => apply("resolve");
  deeds.take = () => apply("take");
}

function go(where) {
  const target = (rows[here()] ?? document).querySelector(`[data-go="${where}"]`);
  if (target?.matches("textarea")) target.focus();
  else target?.click();
}

function isTyping(element) {
  return element.isContentEditable || element.matches("textarea, select, input:not([type=checkbox])");
}

document.addEventListener("keydown", (event) => {
  const deed = keys.get(event.key);
  if (!deed || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (help.open || isTyping(event.target)) return;
  event.preventDefault();
  if (event.repeat && deed !== "down" && deed !== "up") return;
  if (deeds[deed]) deeds[deed]();
  else go(deed);
});

document.querySelector("[data-keys-help]")?.addEventListener("click", () => help.showModal());

// After an action the list comes anew: be where one was.
const place = sessionStorage.getItem(PLACE);
sessionStorage.removeItem(PLACE);
if (place !== null && rows.length > 0) focusRow(Number(place));
