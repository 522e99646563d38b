// One message of the conversation on the page. Text only: it is added to text nodes and never parsed.

import { el, say } from "./dom.js";

export class Message {
  #unshown = new Map();
  #frame = 0;
  #thought = null;
  #calls = [];

  constructor(log, role, text = "") {
    this.log = log;
    this.shown = document.createTextNode("");
    this.note = el("p", { class: "note" });
    this.body = el("div", { class: "text" }, this.shown);
    this.root = el("article", { class: `turn ${role}`, "aria-label": role }, this.body, this.note);
    log.append(this.root);
    this.text = "";
    this.add(text);
  }

  add(text) {
    this.text += text;
    this.#grow(this.shown, text);
  }

  /** What the model thinks before it answers. */
  think(text) {
    if (!this.#thought) {
      this.#thought = el("details", { class: "thought", open: "" }, el("summary", {}, "Reasoning"), el("p", {}, ""));
      this.body.before(this.#thought);
    }
    this.#grow(textOf(this.#thought.lastChild), text);
  }

  /** Adds a piece to the call of that index. Only the first piece has the name. */
  call({ index, function: { name, arguments: text } }) {
    if (!this.#calls[index]) {
      this.#calls[index] = el("figure", { class: "call" }, el("figcaption", {}, name), el("code", {}, ""));
      this.note.before(this.#calls[index]);
    }
    this.#grow(textOf(this.#calls[index].lastChild), text ?? "");
  }

  /** The reply has ended; `note` says how. */
  end(note, failed = false) {
    this.#show();
    if (this.#thought && this.text) this.#thought.open = false;
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

  /** Shown with the browser's next frame, however many tokens come before it. */
  #grow(node, text) {
    this.#unshown.set(node, (this.#unshown.get(node) ?? "") + text);
    this.#frame ||= requestAnimationFrame(() => this.#show());
  }

  #show() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 80;
    for (const [node, text] of this.#unshown) node.appendData(text);
    this.#unshown.clear();
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }
}

function textOf(element) {
  if (!element.firstChild) element.append(document.createTextNode(""));
  return element.firstChild;
}
