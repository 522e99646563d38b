// Sets the chosen theme before the first paint. A classic script, since modules run too late.
"use strict";
(() => {
  const chosen = localStorage.getItem("tidegate.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
