// Builds the page. Text goes in as text nodes only, so nothing that a model or a worker says becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** @template {Element} T @returns {T} */
export const $ = (id) => document.getElementById(id);

/** An element with attributes; `class`, `title` and so on. Children are elements or text. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Sets the text only if it differs, so that selections stay and screen readers are silent. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Keeps one child for every item, by key, in the items' order: made once, updated each time, removed with its item.
 * @param {(item) => {root: Element, update: (item) => void}} make
 */
export function keep(parent, items, keyOf, make) {
  const views = (parent.views ??= new Map());
  const wanted = new Set(items.map(keyOf));
  for (const [key, view] of views) {
    if (wanted.has(key)) continue;
    view.root.remove();
    views.delete(key);
  }
  items.forEach((item, index) => {
    const key = keyOf(item);
    if (!views.has(key)) views.set(key, make(item));
    const view = views.get(key);
    if (parent.children[index] !== view.root) parent.insertBefore(view.root, parent.children[index] ?? null);
    view.update(item);
  });
}
