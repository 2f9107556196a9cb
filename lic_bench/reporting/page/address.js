// The page's address says what is chosen, by name, so that a view can be sent: open the same file
// with the same address behind it, or another report of the same codecs.
const CHOICES = [
  "dataset",
  "metric",
  "axis",
  "limit",
  "curve-image",
  "table-codec",
  "table-anchor",
  "table-rate",
  "gain",
];

/** The section and the choices of the address. */
function addressed() {
  const [section, ...rest] = location.hash.slice(1).split("&");
  return [section, new URLSearchParams(rest.join("&"))];
}

function chooseByText(select, text) {
  const option = [...select.options].find((one) => one.textContent === text);
  if (option) select.value = option.value;
}

function choicesNow() {
  const kept = new URLSearchParams();
  for (const id of CHOICES) {
    const [option] = $(id).selectedOptions;
    if (option) kept.set(id, option.textContent);
  }
  if (state.tag !== null) kept.set("tag", averaged().name);
  if ($("log").checked) kept.set("log", "");
  for (const [codec, { name }] of data.codecs.entries())
    if (!state.shown.has(codec)) kept.append("hide", name);
  if (chart.zoomed) kept.set("range", chart.zoomed.map((end) => figures(end, 5)).join(" "));
  if (known(viewer.image)) {
    const { image, rate, left, right, layout, show, behind, scale, x, y } = viewer;
    kept.set("image", currentDataset().images[image].name);
    kept.set("rate", rate);
    for (const [side, codec] of Object.entries({ left, right }))
      kept.set(side, codec === ORIGINAL ? "" : data.codecs[codec].name);
    kept.set("layout", layout);
    kept.set("show", show);
    kept.set("behind", behind);
    kept.set("split", figures(viewer.split));
    if (!viewer.fit) kept.set("at", [scale, x, y].map((value) => figures(value, 5)).join(" "));
  }
  return kept;
}

let toWrite = null;
let touched = false;
/** Write down what is chosen, once somebody has chosen something. */
function remember() {
  if (!touched) return;
  clearTimeout(toWrite);
  toWrite = setTimeout(writeAddress, 150);
}
function writeAddress() {
  history.replaceState(null, "", `#${addressed()[0]}&${choicesNow()}`);
}

const numbersIn = (text, many) => {
  const found = (text || "").split(" ").map(Number);
  return found.length === many && found.every(Number.isFinite) ? found : null;
};

/** Choose what the address says; what it says and is not here is left as it is. */
function followAddress() {
  const [section, kept] = addressed();
  if (kept.size ?? [...kept].length) {
    chooseByText($("dataset"), kept.get("dataset"));
    if (Number($("dataset").value) !== state.dataset) {
      state.dataset = Number($("dataset").value);
      setUpDataset();
    }
    const tag = kept.has("tag")
      ? currentDataset().tags.findIndex(({ name }) => name === kept.get("tag"))
      : -1;
    $("tag").value = tag < 0 ? "" : tag;
    if (state.tag !== (tag < 0 ? null : tag)) chooseTag(tag < 0 ? null : tag);
    for (const id of CHOICES.slice(1)) chooseByText($(id), kept.get(id));
    state.metric = $("metric").value;
    $("log").checked = kept.has("log");
    $("limit").disabled = $("axis").value !== "bpp";
    const hidden = new Set(kept.getAll("hide"));
    state.shown = new Set([...data.codecs.keys()].filter((i) => !hidden.has(data.codecs[i].name)));
    chart.zoomed = numbersIn(kept.get("range"), 4);
    drawLegend();
    drawAll();
    if (known(viewer.image)) followViewer(kept);
  }
  if (section) document.getElementById(section)?.scrollIntoView();
}

function followViewer(kept) {
  const codecs = new Set([...$("view-left").options].map(({ value }) => Number(value)));
  const image = imagesShown().find((i) => currentDataset().images[i].name === kept.get("image")),
    rate = ratesShown().find((one) => String(one) === kept.get("rate"));
  const changes = {};
  if (known(image)) {
    const { width, height } = currentDataset().images[image];
    Object.assign(changes, { image, width, height });
  }
  if (known(rate)) changes.rate = rate;
  for (const side of ["left", "right"]) {
    const name = kept.get(side),
      found = data.codecs.findIndex((one) => one.name === name),
      codec = name === "" ? ORIGINAL : found < 0 ? null : found;
    if (codecs.has(codec)) changes[side] = codec;
  }
  for (const [key, allowed] of Object.entries({
    layout: Object.keys(LAYOUTS),
    show: Object.keys(SHOWS),
    behind: ["left", "right"],
  }))
    if (allowed.includes(kept.get(key))) changes[key] = kept.get(key);
  const [share] = numbersIn(kept.get("split"), 1) || [viewer.split],
    at = numbersIn(kept.get("at"), 3);
  changes.split = Math.min(1, Math.max(0, share));
  changes.fit = !at || at[0] <= 0;
  if (!changes.fit) Object.assign(changes, { scale: Math.min(32, at[0]), x: at[1], y: at[2] });
  choose(changes);
}

function startAddress() {
  for (const kind of ["pointerdown", "keydown", "change", "wheel", "click"])
    document.addEventListener(
      kind,
      () => {
        touched = true;
        remember();
      },
      { capture: true, passive: true },
    );
  followAddress();
  // The links above name a section alone: what is chosen stays.
  window.addEventListener("hashchange", () => {
    if (addressed()[1].toString()) followAddress();
    else writeAddress();
  });
}

/** Give a file of the page's own to the reader. */
function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  html("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

const chartName = () =>
  [currentDataset().name, state.metric, $("axis").value].join("-").replace(/[^\w.-]+/g, "_");

/** The points that are drawn, as CSV: text is quoted, and begins no formula. */
function pointsAsCsv() {
  const cell = (value) =>
    typeof value === "number"
      ? String(value)
      : `"${String(value ?? "")
          .replace(/^[=+@-]/, "'$&")
          .replaceAll('"', '""')}"`;
  const rows = [["codec", "point", "bpp", state.metric, "encode_s", "decode_s"]];
  for (const { codec, points } of seriesShown())
    for (const p of points)
      rows.push([data.codecs[codec].name, p.point, p.bpp, p.y, p.encode, p.decode]);
  return rows.map((row) => row.map(cell).join(",") + "\n").join("");
}

/** The chart by itself: what the page's style says of it is written into it. */
function chartAsSvg() {
  const drawn = $("chart").querySelector("svg"),
    copy = drawn.cloneNode(true);
  const styles = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin"];
  styles.push("font-size", "font-weight", "font-family", "paint-order", "opacity");
  const from = [...drawn.querySelectorAll("*")];
  [...copy.querySelectorAll("*")].forEach((element, i) => {
    const computed = getComputedStyle(from[i]);
    for (const name of styles) element.setAttribute(name, computed.getPropertyValue(name));
    element.removeAttribute("style");
  });
  const { width, height } = drawn.viewBox.baseVal;
  const paper = { width, height, fill: getComputedStyle($("curves")).backgroundColor };
  copy.prepend(svg("rect", paper));
  for (const [name, value] of Object.entries({ width, height, xmlns: SVG }))
    copy.setAttribute(name, value);
  return new XMLSerializer().serializeToString(copy);
}
