// Wires the console: sign-in, theme, pages by the address's hash, shortcuts.

import { refusal } from "./api.js";
import { Chat } from "./chat.js";
import { ClusterPage } from "./cluster.js";
import { $ } from "./dom.js";
import * as session from "./session.js";
import { shortcuts } from "./shortcuts.js";
import { themeSwitch } from "./themes.js";

const pages = { chat: new Chat(), cluster: new ClusterPage() };

const named = () => (location.hash.slice(1) in pages ? location.hash.slice(1) : "chat");

function open() {
  for (const [name, page] of Object.entries(pages)) {
    const chosen = name === named();
    $(name).hidden = !chosen;
    const link = document.querySelector(`[data-page="${name}"]`);
    chosen ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    chosen && session.key() ? page.open() : page.close();
  }
}

themeSwitch($("theme"));
session.signIn(refusal);
session.changes.addEventListener("signed-in", open);
session.changes.addEventListener("signed-out", () => Object.values(pages).forEach((page) => page.forget()));
addEventListener("hashchange", () => location.hash === "#main" || open());
shortcuts({
  focus: () => {
    location.hash = "chat";
    open();
    $("prompt").focus();
  },
  stop: () => pages.chat.stop(),
});
open();
if (!session.key()) session.ask();
