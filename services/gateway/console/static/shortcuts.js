// Keys that work wherever the focus is. None of them acts while a dialog is open.

const EDITABLE = "input, textarea, select, [contenteditable]";

/** @param {{focus: () => void, stop: () => void}} actions */
export function shortcuts({ focus, stop }) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") stop();
    if (event.key === "/" && !event.target.closest(EDITABLE)) {
      event.preventDefault();
      focus();
    }
  });
}
