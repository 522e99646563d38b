// A bar that shows how full something is, with the figures in it.

import { el, say } from "./dom.js";

export class Bar {
  /** warns: whether a nearly full bar is a warning. */
  constructor(name, { warns }) {
    this.warns = warns;
    this.fill = el("span", { class: "fill" });
    this.text = el("span", { class: "figures" });
    this.root = el("span", { class: "load", role: "meter", "aria-label": name, "aria-valuemin": "0" }, this.fill, this.text);
  }

  show(used, size, text) {
    const share = size ? Math.min(1, used / size) : 0;
    this.fill.style.width = `${100 * share}%`;
    this.root.classList.toggle("full", this.warns && share >= 0.9);
    this.root.setAttribute("aria-valuenow", used);
    this.root.setAttribute("aria-valuemax", size);
    this.root.setAttribute("aria-valuetext", text);
    say(this.text, text);
  }
}
