// Elements from descriptions. Text is always text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element.
 * @param {string} name
 * @param {Object} attributes - `on...` are listeners, `class` and the others attributes; false and null are left out.
 * @param {...(Node|string|null)} children
 */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** An SVG element, as `el`. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A function that waits until it has not been called for so many milliseconds. */
export function debounced(milliseconds, action) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}

/** A value of localStorage, or null where the browser keeps none. */
export function remembered(name) {
  try {
    return localStorage.getItem(`rnnserve.${name}`);
  } catch {
    return null;
  }
}

/** Keep a value in localStorage, where the browser does. */
export function remember(name, value) {
  try {
    localStorage.setItem(`rnnserve.${name}`, value);
  } catch {
    // a private window: it holds until the page is left
  }
}
