// Before the first paint: the theme that was chosen here, if any. A classic script, since modules run too late.
"use strict";
(() => {
  const chosen = localStorage.getItem("tidegate.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
