// The themes: light, dark, or that of the system.

const KEY = "tidegate.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

/** @param {HTMLButtonElement} button  goes to the next theme each time it is pressed */
export function themeSwitch(button) {
  let theme = document.documentElement.dataset.theme ?? "system";
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
    show();
  });
  show();
}
