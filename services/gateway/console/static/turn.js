// One message of the conversation on the page. Text only: it is added to text nodes and never parsed.

import { el, say } from "./dom.js";

export class Turn {
  #unshown = "";
  #frame = 0;

  constructor(log, role, text = "") {
    this.log = log;
    this.text = "";
    this.shown = document.createTextNode("");
    this.note = el("p", { class: "note" });
    this.root = el("article", { class: `turn ${role}`, "aria-label": role }, el("div", { class: "text" }, this.shown), this.note);
    log.append(this.root);
    this.add(text);
  }

  /** Shown with the browser's next frame, however many tokens come before it. */
  add(text) {
    this.text += text;
    this.#unshown += text;
    this.#frame ||= requestAnimationFrame(() => this.#show());
  }

  /** The answer has ended; `note` says how. */
  end(note, failed = false) {
    this.#show();
    this.root.classList.add("ended");
    this.root.classList.toggle("failed", failed);
    this.tell(note);
  }

  tell(note) {
    say(this.note, note);
  }

  remove() {
    cancelAnimationFrame(this.#frame);
    this.root.remove();
  }

  #show() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 80;
    this.shown.appendData(this.#unshown);
    this.#unshown = "";
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }
}
