// Comforts of the operator's pages: copying a snippet, filters that close, a button that says it is busy.
"use strict";

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const label = button.querySelector("[data-copy-label]");
  try {
    await navigator.clipboard.writeText(source.textContent);
    label.textContent = "Copied";
  } catch {
    // No clipboard without https, or not allowed: select the text instead.
    getSelection().selectAllChildren(source);
    label.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (label.textContent = "Copy"), 2500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  for (const filter of document.querySelectorAll("details[data-filter][open]")) {
    if (!filter.contains(event.target)) filter.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const filter of document.querySelectorAll("details[data-filter][open]")) {
    filter.open = false;
    filter.querySelector("summary").focus();
  }
});

// A test of a connection takes a while: say so on its button.
document.addEventListener("submit", (event) => {
  const button = event.target.querySelector("[data-busy]");
  if (!button) return;
  button.textContent = button.dataset.busy;
  button.disabled = true;
});
