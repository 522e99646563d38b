// A line of the last values, drawn as SVG in the colour of its surroundings.

import { svg } from "./dom.js";

const KEPT = 60;
const WIDTH = 160;
const HEIGHT = 36;

export class Sparkline {
  #values = [];

  constructor() {
    this.area = svg("polygon", { class: "area" });
    this.line = svg("polyline", { class: "line" });
    const box = { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };
    this.root = svg("svg", box, this.area, this.line);
  }

  /** A value that is null leaves the line where it was. */
  add(value) {
    this.#values = [...this.#values, value ?? this.#values.at(-1) ?? 0].slice(-KEPT);
    const top = Math.max(...this.#values, Number.EPSILON);
    const step = WIDTH / (KEPT - 1);
    const start = WIDTH - step * (this.#values.length - 1);
    const points = this.#values.map((v, i) => `${(start + i * step).toFixed(1)},${(HEIGHT - 2 - (HEIGHT - 5) * (v / top)).toFixed(1)}`);
    this.line.setAttribute("points", points.join(" "));
    this.area.setAttribute("points", `${start.toFixed(1)},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`);
  }
}
