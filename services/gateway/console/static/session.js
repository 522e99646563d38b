// The session: the key lives in this tab's sessionStorage and nowhere else.

import { $, say } from "./dom.js";

const KEY = "tidegate.key";

/** "signed-in" and "signed-out". */
export const changes = new EventTarget();

export const key = () => sessionStorage.getItem(KEY);

/** Shows why a key was refused, and asks for another one. */
export function ask(reason = "") {
  sessionStorage.removeItem(KEY);
  say($("sign-in-error"), reason);
  $("key").value = "";
  if (!$("sign-in").open) $("sign-in").showModal();
}

/** @param {(key: string) => Promise<string>} refusal  why the key is not taken, or "" */
export function signIn(refusal) {
  const dialog = $("sign-in");
  // Without a key, the page behind the dialog is empty.
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  $("sign-in-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = $("key").value.trim();
    const told = await refusal(given);
    say($("sign-in-error"), told);
    if (told) return $("key").select();
    sessionStorage.setItem(KEY, given);
    $("key").value = "";
    dialog.close();
    changes.dispatchEvent(new Event("signed-in"));
  });
  $("sign-out").addEventListener("click", () => {
    changes.dispatchEvent(new Event("signed-out"));
    ask();
  });
}
