// Small helpers. Whatever comes from the data becomes text, never markup.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (value !== null && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}
const html = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** A codec's name, which goes on in another line behind a sign rather than within a word. */
const breakable = (name) =>
  html("span", {}, ...name.split(/(?<=[:,=/])/).flatMap((part) => [part, html("wbr")]));

/** Fill a select with [value, text] pairs; keep what was chosen where it is still there. */
function options(select, pairs, chosen = select.value) {
  select.replaceChildren(...pairs.map(([value, text]) => html("option", { value }, text)));
  if (pairs.some(([value]) => String(value) === String(chosen))) select.value = chosen;
}

const known = (value) => value !== null && value !== undefined;
const MINUS = "\u2212";
const fixed = (value, digits) => (known(value) ? value.toFixed(digits).replace("-", MINUS) : "–");
const signed = (value, digits) =>
  known(value) ? (value > 0 ? "+" : "") + fixed(value, digits) : "–";
const figures = (value, digits = 3) =>
  known(value) ? String(Number(value.toPrecision(digits))) : "–";
const bpp = (value) => fixed(value, value < 0.0995 ? 4 : 3) + " bpp";
const seconds = (value) => {
  if (!known(value)) return "–";
  return value < 0.1 ? figures(1000 * value) + " ms" : figures(value) + " s";
};
const plural = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
