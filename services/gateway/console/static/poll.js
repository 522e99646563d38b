// Asks again and again: steadily while the page is visible, more and more rarely while it is not or while asking fails.

const EVERY_MS = 1500;
const SLOWEST_MS = 30_000;

export class Poll {
  #timer = 0;
  #delay = EVERY_MS;
  #open = null;

  /** @param {(signal: AbortSignal) => Promise<boolean>} ask  false: it failed */
  constructor(ask) {
    this.ask = ask;
    document.addEventListener("visibilitychange", () => !document.hidden && this.#open && this.start());
  }

  /** Asks at once, and again from then on. */
  start() {
    this.stop();
    this.#open = new AbortController();
    this.#delay = EVERY_MS;
    this.#turn(this.#open);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#open?.abort();
    this.#open = null;
  }

  async #turn(open) {
    const well = await this.ask(open.signal);
    if (this.#open !== open) return;
    const slower = document.hidden || !well;
    this.#delay = slower ? Math.min(2 * this.#delay, SLOWEST_MS) : EVERY_MS;
    this.#timer = setTimeout(() => this.#turn(open), this.#delay);
  }
}
