// How fast a reply came.

export class Timing {
  constructor() {
    this.asked = performance.now();
    this.first = this.last = null;
    this.pieces = 0;
  }

  /** Notes that a piece of text came. */
  piece() {
    this.last = performance.now();
    this.first ??= this.last;
    this.pieces += 1;
  }

  /** Time to the first token, in ms; null before it. */
  get ttft() {
    return this.first === null ? null : this.first - this.asked;
  }

  get seconds() {
    return ((this.last ?? performance.now()) - this.asked) / 1000;
  }

  /** Tokens a second after the first; null while there is nothing to divide. */
  rate(tokens) {
    const seconds = (this.last - this.first) / 1000;
    return this.first !== null && tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null;
  }
}
