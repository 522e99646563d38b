// One figure of the cluster with its recent past.

import { el, say } from "./dom.js";
import { Sparkline } from "./sparkline.js";

export class Tile {
  constructor(name, title) {
    this.value = el("strong", { class: "value" }, "–");
    this.detail = el("span", { class: "detail" });
    this.spark = new Sparkline();
    this.root = el("div", { class: "tile", title }, el("h3", {}, name), el("p", {}, this.value, this.detail), this.spark.root);
  }

  /** @param {number | null} number  for the line @param {string} text  for people */
  show(number, text, detail = "") {
    say(this.value, text);
    say(this.detail, detail);
    this.spark.add(number);
  }
}
