// Two pictures of one image: side by side, under a slider, or flipped; zoomed and moved together.
const ORIGINAL = -1;
const LAYOUTS = { side: "Side by side", slider: "Slider", flip: "Flip" };
const SHOWS = {
  pictures: "Pictures",
  difference: "Difference",
  error: "Error",
  importance: "Importance",
};
const viewer = {
  image: null,
  rate: null,
  left: null,
  right: null,
  layout: "slider",
  show: "pictures",
  split: 0.5,
  behind: "right",
  original: false,
  fit: true,
  scale: 1,
  x: 0,
  y: 0,
  width: 1,
  height: 1,
  drawing: 0,
};
const pane = (side) => document.querySelector(`.pane[data-side="${side}"]`);

/** The picture of a codec at a rate; its `problem` says why it is missing. */
function pictureOf(codec, rate = viewer.rate) {
  const name = currentDataset().images[viewer.image].name;
  return data.pictures.find(
    (p) =>
      p.dataset === currentDataset().name &&
      p.image === name &&
      p.codec === codec &&
      (codec === ORIGINAL || p.rate === rate),
  );
}

// Pictures wait as base64 in elements behind this script. Those that were decoded are kept, and
// those that may be asked for next are decoded while nothing else is to do: what is chosen is then
// drawn at once.
const decoded = new Map(); // by number: the bitmap, or the error
const decoding = new Map();
const MOST_PIXELS = 6e7;

function bitmap(id) {
  if (decoded.has(id)) return decoded.get(id);
  if (!decoding.has(id)) decoding.set(id, keep(id));
  return decoding.get(id);
}
async function keep(id) {
  const found = await decode(id).catch((error) => error);
  decoding.delete(id);
  decoded.set(id, found);
  let sum = 0;
  for (const other of [...decoded.keys()].toReversed()) {
    sum += (decoded.get(other).width || 0) * (decoded.get(other).height || 0);
    if (sum > MOST_PIXELS && other !== id) decoded.delete(other);
  }
  return found;
}
async function decode(id, size = {}) {
  while (!$(`blob-${id}`) && document.readyState === "loading")
    // oxlint-disable-next-line no-await-in-loop -- waiting is what the loop is for
    await new Promise((resolve) => setTimeout(resolve, 30));
  const text = $(`blob-${id}`).textContent;
  const type = { "/": "jpeg", i: "png", U: "webp" }[text[0]] || "avif";
  const bytes = Uint8Array.from(atob(text), (c) => c.codePointAt(0));
  return createImageBitmap(new Blob([bytes], { type: `image/${type}` }), size);
}

/** The pixels of a picture that was decoded. */
function pixels(id, width, height, times = 1) {
  const canvas = html("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const picture = decoded.get(id);
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, picture.width * times, picture.height * times);
  return context.getImageData(0, 0, width, height);
}

const idle = window.requestIdleCallback || ((work) => setTimeout(work, 200));
/** Decode what a next key may ask for. */
function lookAhead() {
  const names = currentDataset().images.map(({ name }) => name),
    images = imagesShown(),
    at = images.indexOf(viewer.image);
  const near = new Set(
    [1, -1].map((step) => names[images[(at + step + images.length) % images.length]]),
  );
  const soon = picturesHere().filter(
    ({ image, codec, rate }) =>
      (image === names[viewer.image] && (codec === ORIGINAL || rate === viewer.rate)) ||
      (near.has(image) &&
        rate === viewer.rate &&
        (codec === viewer.left || codec === viewer.right)),
  );
  const next = soon.map((p) => p.data).find((id) => known(id) && !decoded.has(id));
  const drawing = viewer.drawing;
  if (known(next))
    idle(async () => {
      await bitmap(next);
      if (drawing === viewer.drawing && decoded.has(next)) lookAhead();
    });
}

// Inferno, the colour map by S. van der Walt and N. Smith, in sixteen steps.
const HEAT = [
  "000004",
  "0b0724",
  "210c4a",
  "3d0965",
  "57106e",
  "71196e",
  "8a226a",
  "a32c61",
  "bc3754",
  "d24644",
  "e45a31",
  "f1731d",
  "f98e09",
  "fcac11",
  "f9cb35",
  "f2ea69",
  "fcffa4",
].map((colour) => [0, 2, 4].map((i) => parseInt(colour.slice(i, i + 2), 16)));
const HEAT_TOP = 32; // 8-bit steps at the end of the scale
function heat(share) {
  const at = Math.min(1, share) * (HEAT.length - 1),
    i = Math.min(HEAT.length - 2, Math.floor(at));
  return [0, 1, 2].map((c) => HEAT[i][c] + (HEAT[i + 1][c] - HEAT[i][c]) * (at - i));
}
const HEAT_TABLE = Array.from({ length: 256 }, (_, level) =>
  heat(level / data.errorSteps / HEAT_TOP),
);

/** The pictures that one side is made of, by number. */
function partsOf(side) {
  const codec = viewer.original ? ORIGINAL : viewer[side],
    picture = pictureOf(codec);
  if (!picture || picture.problem) return [];
  if (codec !== ORIGINAL && viewer.show === "error") return [picture.error];
  if (codec !== ORIGINAL && viewer.show === "importance") return [picture.importance];
  if (viewer.show === "difference") return [picture.data, pictureOf(viewer.right)?.data];
  return [picture.data];
}

/** What one side shows: a bitmap, its pixels, or why there are none. */
function content(side) {
  const { width, height, show } = viewer;
  const codec = viewer.original ? ORIGINAL : viewer[side],
    picture = pictureOf(codec);
  if (!picture || picture.problem)
    return picture ? picture.problem : "There is no picture of it at this rate.";
  const broken = partsOf(side).map((id) => decoded.get(id));
  const error = broken.find((one) => one instanceof Error);
  if (error) return `It cannot be shown: ${error.message}`;
  if (show === "error" && codec !== ORIGINAL) {
    if (!known(picture.error)) return "There is no error map: the original was not at hand.";
    const map = pixels(picture.error, width, height, data.errorBlock);
    for (let i = 0; i < map.data.length; i += 4) map.data.set(HEAT_TABLE[map.data[i]], i);
    return map;
  }
  if (show === "importance" && codec !== ORIGINAL) {
    if (!known(picture.importance))
      return `${data.codecs[codec].name} has no importance map to show.`;
    return decoded.get(picture.importance);
  }
  if (show === "difference") {
    const other = pictureOf(viewer.right);
    if (!other || other.problem)
      return "There is nothing to compare it with: the right picture is missing.";
    const [a, b] = [picture, other].map(({ data: id }) => pixels(id, width, height));
    const gain = Number($("gain").value);
    for (let i = 0; i < a.data.length; i++)
      if (i % 4 < 3) a.data[i] = gain * Math.abs(a.data[i] - b.data[i]);
    return a;
  }
  return decoded.get(picture.data);
}

function captionOf(side) {
  const codec = viewer.original ? ORIGINAL : viewer[side],
    picture = pictureOf(codec);
  if (codec === ORIGINAL) return "original";
  const parts = [data.codecs[codec].name];
  if (picture && known(picture.bpp)) {
    if (picture.point !== "") parts.push(pointName(codec, picture.point));
    parts.push(bpp(picture.bpp));
    if (known(picture.quality[state.metric])) {
      const { unit, digits } = currentMetric();
      parts.push(`${fixed(picture.quality[state.metric], digits)} ${unit}`.trim());
    }
  }
  return parts.join(" · ");
}

const UNEQUAL = Math.log(1.1);
/** How many more bits a side takes than the other, in per cent; null where one is unknown. */
function moreBits(side) {
  const [own, other] = [side, side === "left" ? "right" : "left"].map((s) => pictureOf(viewer[s]));
  return known(own?.bpp) && known(other?.bpp) ? 100 * (own.bpp / other.bpp - 1) : null;
}
const bitsText = (percent) =>
  `${fixed(Math.abs(percent), 0)} % ${percent > 0 ? "more" : "fewer"} bits`;

/** A warning for the caption, where the two are not at about the same rate.
 *
 * Where a search has met a quality, the rates are what is compared.
 */
function warningOf(side) {
  const atOneRate = Number.isFinite(viewer.rate) || viewer.rate.startsWith("bpp="),
    percent = viewer.original || !atOneRate ? null : moreBits(side);
  return known(percent) && Math.abs(Math.log1p(percent / 100)) > UNEQUAL
    ? html("b", { class: "unequal" }, `\u26a0 ${bitsText(percent)}`)
    : "";
}

/** Draw what is chosen. Drawings that a later one overtakes are dropped. */
async function drawViewer() {
  if (!data.pictures.length) return;
  const drawing = ++viewer.drawing,
    set = currentDataset(),
    image = set.images[viewer.image];
  $("stage").ariaBusy = "true";
  if (viewer.width !== image.width || viewer.height !== image.height)
    Object.assign(viewer, { width: image.width, height: image.height, fit: true });
  const single = viewer.show === "difference",
    sides = single ? ["left"] : ["left", "right"];
  const waiting = sides.flatMap(partsOf).filter((id) => known(id) && !decoded.has(id));
  if (waiting.length) {
    await Promise.all(waiting.map(bitmap));
    if (drawing !== viewer.drawing) return;
  }
  const results = sides.map(content);
  sides.forEach((side, i) => {
    const canvas = pane(side).querySelector("canvas"),
      text = typeof results[i] === "string" ? results[i] : "";
    canvas.hidden = Boolean(text);
    if (!text) {
      Object.assign(canvas, { width: viewer.width, height: viewer.height });
      const context = canvas.getContext("2d");
      if (results[i] instanceof ImageData) context.putImageData(results[i], 0, 0);
      else context.drawImage(results[i], 0, 0);
    }
    canvas.setAttribute("aria-label", `${image.name}: ${captionOf(side)}, ${SHOWS[viewer.show]}`);
    pane(side).querySelector(".missing").textContent = text;
    pane(side)
      .querySelector(".caption")
      .replaceChildren(
        single ? `${captionOf("left")} minus ${captionOf("right")}` : captionOf(side),
        warningOf(side),
      );
  });
  drawControls();
  arrange();
  $("stage").dataset.drawn = drawing;
  $("stage").ariaBusy = "false";
  lookAhead();
  remember();
}

function drawControls() {
  for (const [group, chosen] of [
    ["layouts", viewer.layout],
    ["shows", viewer.show],
  ])
    for (const button of $(group).children)
      button.setAttribute("aria-pressed", button.value === chosen);
  for (const [id, value] of [
    ["view-image", viewer.image],
    ["view-rate", viewer.rate],
    ["view-left", viewer.left],
    ["view-right", viewer.right],
  ])
    $(id).value = value;
  for (const button of $("thumbs").children)
    button.setAttribute("aria-pressed", Number(button.value) === viewer.image);
  $("gain-label").hidden = viewer.show !== "difference";
  for (const button of $("layouts").children) button.disabled = viewer.show === "difference";
  const { title, unit } = currentMetric();
  const notes = [unit ? `The ${unit} are of ${title}.` : `The figures are ${title}.`],
    [a, b] = [pictureOf(viewer.left), pictureOf(viewer.right)];
  const more = moreBits("right");
  if (known(more))
    notes.push(
      Math.abs(more) < 0.5 ? "Both take as many bits." : `Right takes ${bitsText(more)} than left.`,
    );
  if (viewer.show === "difference")
    notes.push("Absolute difference of the pictures as they are shown here.");
  if (viewer.show === "pictures")
    for (const [side, picture] of [
      ["Left", a],
      ["Right", b],
    ])
      if (picture && !picture.problem)
        notes.push(
          picture.exact
            ? `${side}: the codec's own bitstream, pixel by pixel.`
            : `${side}: compressed anew for display.`,
        );
  $("view-note").textContent = notes.join(" ");
  drawScale();
}

function drawScale() {
  const wanted = viewer.show === "error";
  if (!wanted) return $("scale").replaceChildren();
  const canvas = html("canvas", { width: 128, height: 1, "aria-hidden": "true" }),
    context = canvas.getContext("2d"),
    strip = context.createImageData(128, 1);
  for (let i = 0; i < 128; i++) strip.data.set([...heat(i / 127), 255], 4 * i);
  context.putImageData(strip, 0, 0);
  $("scale").replaceChildren(
    "Error 0",
    canvas,
    `${HEAT_TOP} or more 8-bit steps, root mean square of each ` +
      `${data.errorBlock}×${data.errorBlock} pixels`,
  );
}

/** The scale at which a picture is shown where so large a one would fit: no larger than it is, and
 * of each pixel a whole number on the screen, where there is room for one. */
function fitting(most) {
  const real = window.devicePixelRatio || 1,
    scale = Math.min(1, most),
    whole = Math.floor(scale * real + 1e-6);
  return whole ? whole / real : scale;
}

/** Put both pictures in their places: layout, zoom, position. */
function arrange() {
  const stage = $("stage"),
    width = stage.clientWidth,
    single = viewer.show === "difference";
  const stacked = viewer.layout === "side" && width < 640 && viewer.width > viewer.height;
  stage.dataset.layout = single
    ? "one"
    : viewer.layout === "side"
      ? stacked
        ? "stacked"
        : "side"
      : viewer.layout;
  const columns = stage.dataset.layout === "side" ? 2 : 1,
    rows = stacked && !single ? 2 : 1;
  const inner = columns === 2 ? (width - 2) / 2 : width;
  const full = document.fullscreenElement === $("viewer-body"),
    most = Math.round(0.78 * window.innerHeight);
  const natural = fitting(inner / viewer.width) * viewer.height;
  stage.style.height = full ? "" : `${Math.max(200, Math.min(most, rows * natural))}px`;
  const [w, h] = [inner, rows === 2 ? (stage.clientHeight - 2) / 2 : stage.clientHeight];
  if (viewer.fit)
    Object.assign(viewer, {
      scale: fitting(Math.min(w / viewer.width, h / viewer.height)),
      x: viewer.width / 2,
      y: viewer.height / 2,
    });
  const s = viewer.scale,
    middle = (at, size, shown) =>
      size * s <= shown ? size / 2 : Math.min(size - shown / 2 / s, Math.max(shown / 2 / s, at));
  viewer.x = middle(viewer.x, viewer.width, w);
  viewer.y = middle(viewer.y, viewer.height, h);
  // Whole device pixels, so that a real pixel falls on a real pixel.
  const real = window.devicePixelRatio || 1,
    snapped = (value, from) => Math.round((from + value) * real) / real - from;
  const wholes = Math.abs(s * real - Math.round(s * real)) < 1e-3;
  for (const side of ["left", "right"]) {
    const canvas = pane(side).querySelector("canvas"),
      place = pane(side).getBoundingClientRect();
    const left = snapped(w / 2 - viewer.x * s, place.left + window.scrollX);
    const top = snapped(h / 2 - viewer.y * s, place.top + window.scrollY);
    canvas.style.transform = `translate(${left}px, ${top}px) scale(${s})`;
    canvas.classList.toggle("pixelated", s * real > 2.999 || (s * real > 0.999 && wholes));
    pane(side).classList.toggle("behind", side === viewer.behind);
  }
  pane("right").querySelector(".view").style.clipPath =
    stage.dataset.layout === "slider" ? `inset(0 0 0 ${100 * viewer.split}%)` : "";
  const handle = $("handle");
  stage.style.setProperty("--split", `${100 * viewer.split}%`);
  handle.style.left = `${100 * viewer.split}%`;
  handle.setAttribute("aria-valuenow", Math.round(100 * viewer.split));
  stage.classList.toggle("zoomed", !viewer.fit);
  $("zoom").textContent = `${Math.round(100 * s * real)} %`;
  remember();
}

/** Zoom, about a place in a pane (in CSS pixels from its middle). */
function zoom(scale, fromX = 0, fromY = 0) {
  const real = window.devicePixelRatio || 1,
    next = Math.min(32, Math.max(0.05, scale * real)) / real;
  viewer.x += fromX / viewer.scale - fromX / next;
  viewer.y += fromY / viewer.scale - fromY / next;
  Object.assign(viewer, { scale: next, fit: false });
  arrange();
}
const zoomFit = () => {
  viewer.fit = true;
  arrange();
};
const zoomReal = () => zoom(1 / (window.devicePixelRatio || 1));
function pan(x, y) {
  viewer.x -= x / viewer.scale;
  viewer.y -= y / viewer.scale;
  arrange();
}
function choose(changes) {
  Object.assign(viewer, changes);
  return drawViewer();
}
function turnTo(step) {
  const images = imagesShown();
  choose({ image: images[(images.indexOf(viewer.image) + step + images.length) % images.length] });
}
function split(share) {
  viewer.split = Math.min(1, Math.max(0, share));
  arrange();
}
function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("viewer-body").requestFullscreen();
}
function fullScreenChanged() {
  const full = document.fullscreenElement === $("viewer-body");
  $("full").setAttribute("aria-pressed", full);
  $(full ? "stage" : "full").focus({ preventScroll: true });
  arrange();
}
function flip() {
  viewer.behind = viewer.behind === "left" ? "right" : "left";
  return choose({ layout: "flip", show: viewer.show === "difference" ? "pictures" : viewer.show });
}

const KEYS = [
  [["f", " "], "F, space", "flip: one picture in the other's place", flip],
  [["s"], "S", "side by side", () => choose({ layout: "side" })],
  [["l"], "L", "slider", () => choose({ layout: "slider" })],
  [["x"], "X", "exchange left and right", () => choose({ left: viewer.right, right: viewer.left })],
  [["o"], "O (held)", "the original", () => viewer.original || choose({ original: true })],
  [["p"], "P", "pictures", () => choose({ show: "pictures" })],
  [
    ["d"],
    "D",
    "difference of the two",
    () => choose({ show: viewer.show === "difference" ? "pictures" : "difference" }),
  ],
  [
    ["e"],
    "E",
    "error heat map",
    () => choose({ show: viewer.show === "error" ? "pictures" : "error" }),
  ],
  [
    ["i"],
    "I",
    "importance map",
    () => choose({ show: viewer.show === "importance" ? "pictures" : "importance" }),
  ],
  [["n"], "N", "next image", () => turnTo(1)],
  [["b"], "B", "image before", () => turnTo(-1)],
  [
    ["r"],
    "R",
    "next rate",
    () => {
      const rates = ratesShown();
      choose({ rate: rates[(rates.indexOf(viewer.rate) + 1) % rates.length] });
    },
  ],
  [["u"], "U", "full screen", toggleFullScreen],
  [["1"], "1", "real pixels", zoomReal],
  [["0"], "0", "fit", zoomFit],
  [["+", "="], "+", "zoom in", () => zoom(2 * viewer.scale)],
  [["-"], "−", "zoom out", () => zoom(viewer.scale / 2)],
  [["ArrowLeft"], "← → ↑ ↓", "move", () => pan(60, 0)],
  [["ArrowRight"], "", "", () => pan(-60, 0)],
  [["ArrowUp"], "", "", () => pan(0, 60)],
  [["ArrowDown"], "", "", () => pan(0, -60)],
];

/** Whether half of the stage, or of the window by it, is seen. */
function viewerInView() {
  const { top, bottom, height } = $("stage").getBoundingClientRect(),
    most = window.innerHeight;
  return height > 0 && Math.min(bottom, most) - Math.max(top, 0) >= Math.min(height, most) / 2;
}

function pressed(event) {
  // Elsewhere on the page the arrows and the space bar scroll, or walk along curves.
  const elsewhere = !$("viewer").contains(event.target);
  if (elsewhere && (!viewerInView() || event.key.startsWith("Arrow") || event.key === " ")) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
  const pressable = event.target.matches("button, a, summary, input");
  if (pressable && [" ", "Enter"].includes(event.key)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.target.id === "handle" && /^Arrow|Home|End/.test(key)) {
    const share = {
      ArrowLeft: viewer.split - 0.02,
      ArrowDown: viewer.split - 0.02,
      ArrowRight: viewer.split + 0.02,
      ArrowUp: viewer.split + 0.02,
      Home: 0,
      End: 1,
    };
    split(share[key]);
    return event.preventDefault();
  }
  const action = KEYS.find(([keys]) => keys.includes(key));
  if (!action) return;
  event.preventDefault();
  action[3]();
}

const HELD_MS = 350;
/** Moved by one pointer, zoomed by two. */
function listenToPointers(stage) {
  const fingers = new Map();
  const middle = () =>
    [...fingers.values()].reduce(
      ([x, y], f) => [x + f.x / fingers.size, y + f.y / fingers.size],
      [0, 0],
    );
  const apart = () => {
    const [a, b] = [...fingers.values()];
    return b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  };
  const inPane = (x, y) => {
    const place = (
      document.elementFromPoint(x, y)?.closest(".pane") || pane("left")
    ).getBoundingClientRect();
    return [x - place.left - place.width / 2, y - place.top - place.height / 2];
  };
  // A click flips, and a finger or button that stays shows the original while it does.
  let still = null;
  const moved = () => {
    clearTimeout(still?.timer);
    still = null;
  };
  const released = (event) => {
    fingers.delete(event.pointerId);
    if (viewer.original && still?.held) choose({ original: false });
    else if (still && event.type === "pointerup" && stage.dataset.layout === "flip") flip();
    moved();
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.target.id === "handle" || event.button > 0) return;
    moved();
    if (!fingers.size) {
      still = { x: event.clientX, y: event.clientY, held: false };
      still.timer = setTimeout(() => {
        still.held = true;
        choose({ original: true });
      }, HELD_MS);
    }
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  stage.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    if (still && !still.held && Math.hypot(event.clientX - still.x, event.clientY - still.y) > 4)
      moved();
    const [x, y] = middle(),
      before = apart();
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const [nowX, nowY] = middle();
    if (before) zoom((viewer.scale * apart()) / before, ...inPane(nowX, nowY));
    pan(nowX - x, nowY - y);
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, released);
  stage.addEventListener("contextmenu", (event) => fingers.size && event.preventDefault());
  stage.addEventListener(
    "wheel",
    (event) => {
      // The page scrolls until the viewer is clicked or Ctrl is held.
      if (!event.ctrlKey && !stage.contains(document.activeElement)) return;
      event.preventDefault();
      zoom(viewer.scale * 2 ** (-event.deltaY / 240), ...inPane(event.clientX, event.clientY));
    },
    { passive: false },
  );
  stage.addEventListener("dblclick", (event) => {
    if (stage.dataset.layout === "flip") return; // two flips
    if (!viewer.fit) return zoomFit();
    zoom(Math.max(2 * viewer.scale, 1), ...inPane(event.clientX, event.clientY));
  });
  const handle = $("handle");
  handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
  handle.addEventListener("pointermove", (event) => {
    const place = stage.getBoundingClientRect();
    if (handle.hasPointerCapture(event.pointerId))
      split((event.clientX - place.left) / place.width);
  });
}

const picturesHere = () => data.pictures.filter(({ dataset }) => dataset === currentDataset().name);
const imagesShown = () => {
  const names = new Set(picturesHere().map(({ image }) => image));
  return currentDataset()
    .images.map((_, i) => i)
    .filter((i) => tagged(i) && names.has(currentDataset().images[i].name));
};
/** Rates in bits per pixel, from low to high; behind them, as texts, the targets of searches. */
const ratesShown = () => {
  const all = [...new Set(picturesHere().map(({ rate }) => rate))];
  return [
    ...all.filter(Number.isFinite).toSorted((a, b) => a - b),
    ...all.filter((rate) => !Number.isFinite(rate)).toSorted(),
  ];
};
const rateName = (rate) =>
  Number.isFinite(rate) ? `${rate} bpp` : `matched: ${data.targets[rate]}`;

/** The two pictures of one image whose rates differ least; without two, one beside the original. */
function bestMatched(image, rate, codec) {
  const names = currentDataset().images.map(({ name }) => name),
    groups = new Map();
  for (const picture of picturesHere()) {
    if (picture.codec === ORIGINAL || !known(picture.data)) continue;
    if (!tagged(names.indexOf(picture.image))) continue;
    const key = JSON.stringify([picture.image, picture.rate]);
    groups.set(key, [...(groups.get(key) || []), picture]);
  }
  const best = { image, rate, left: codec, right: ORIGINAL };
  let least = Infinity;
  for (const group of groups.values()) {
    const [first] = group,
      here = { image: names.indexOf(first.image), rate: first.rate };
    if (least === Infinity) Object.assign(best, here, { left: first.codec });
    const ordered = group.toSorted((a, b) => a.bpp - b.bpp);
    for (let i = 1; i < ordered.length; i++) {
      const apart = Math.log(ordered[i].bpp / ordered[i - 1].bpp);
      if (apart >= least) continue;
      least = apart;
      const [left, right] = [ordered[i - 1].codec, ordered[i].codec].toSorted((a, b) => a - b);
      Object.assign(best, here, { left, right });
    }
  }
  return best;
}

/** Fill the viewer's choices for the data set; keep what still fits. */
function setUpViewer() {
  const images = imagesShown(),
    rates = ratesShown();
  $("viewer-body").hidden = !images.length;
  $("viewer-none").hidden = Boolean(images.length);
  $("viewer-none").textContent =
    state.tag === null ? data.noPictures : "There are no pictures of these images in the page.";
  if (!images.length) return;
  const codecs = data.codecs
    .map((_, i) => i)
    .filter((i) => picturesHere().some(({ codec }) => codec === i));
  options(
    $("view-image"),
    images.map((i) => [i, currentDataset().images[i].name]),
  );
  options(
    $("view-rate"),
    rates.map((rate) => [rate, rateName(rate)]),
  );
  for (const side of ["left", "right"])
    options($(`view-${side}`), [
      ...codecs.map((i) => [i, data.codecs[i].name]),
      [ORIGINAL, "original"],
    ]);
  const fits =
    images.includes(viewer.image) &&
    rates.includes(viewer.rate) &&
    [viewer.left, viewer.right].every((codec) => codec === ORIGINAL || codecs.includes(codec));
  if (!fits) Object.assign(viewer, bestMatched(images[0], rates[0], codecs[0]));
  fillThumbs(images);
  const lost = picturesHere().filter(({ problem }) => problem);
  $("pictures-note").textContent = picturesNote(images, rates, lost);
  $("missing").hidden = !lost.length;
  $("missing").querySelector("summary").textContent =
    `${plural(lost.length, "picture")} left out, and why`;
  const reasons = Map.groupBy
    ? Map.groupBy(lost, ({ problem }) => problem)
    : lost.reduce((map, p) => map.set(p.problem, [...(map.get(p.problem) || []), p]), new Map());
  $("missing")
    .querySelector("ul")
    .replaceChildren(
      ...[...reasons].map(([why, some]) =>
        html("li", {}, `${why} — ${some.map(nameOfPicture).join(", ")}`),
      ),
    );
  drawViewer();
}

/** A strip of the images, small; drawn when it is about to be seen. */
function fillThumbs(images) {
  $("thumbs").replaceChildren(
    ...images.map((i) => {
      const { name, width, height } = currentDataset().images[i];
      const canvas = html("canvas", {
        width: Math.round((96 * width) / height),
        height: 96,
        "aria-hidden": "true",
      });
      const onclick = () => choose({ image: i });
      const words = { type: "button", value: i, title: name, "aria-label": name, onclick };
      return html("button", words, canvas);
    }),
  );
  const watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen)
      if (isIntersecting) {
        watch.unobserve(target);
        drawThumb(target.firstChild, currentDataset().images[Number(target.value)].name);
      }
  });
  for (const button of $("thumbs").children) watch.observe(button);
}
async function drawThumb(canvas, name) {
  const mine = picturesHere().filter(({ image, data: id }) => image === name && known(id));
  const picture = mine.find(({ codec }) => codec === ORIGINAL) || mine[0];
  if (!picture) return;
  const size = { resizeWidth: canvas.width, resizeHeight: canvas.height, resizeQuality: "medium" };
  const small = await decode(picture.data, size).catch(() => null);
  if (small) canvas.getContext("2d").drawImage(small, 0, 0);
}

function picturesNote(images, rates, lost) {
  const all = picturesHere();
  const exact = all.filter((picture) => picture.exact).length;
  return (
    `${plural(all.length - lost.length, "picture")} of ${plural(images.length, "image")}: ` +
    "of each codec the operating point nearest the rate, at most a factor of 1.5 away" +
    (rates.every(Number.isFinite)
      ? ""
      : "; where it says matched, the one that a search found for this image") +
    "; decoded from the bitstream that was measured. " +
    `${exact} are the bitstreams themselves, where browsers decode them to the measured pixels. ` +
    `The others are compressed anew for display (WebP of quality ${data.quality}, without loss ` +
    "where that would harm; originals too); figures and error maps are of the pictures before that."
  );
}

function nameOfPicture({ image, codec, rate }) {
  if (codec === ORIGINAL) return `${image} original`;
  const rateText = Number.isFinite(rate) ? `${rate} bpp` : data.targets[rate];
  return `${image} ${data.codecs[codec].name} at ${rateText}`;
}

/** Show an image of the table in the viewer. */
function view(image, left, right, rate) {
  if (!imagesShown().includes(image)) return;
  const rates = ratesShown();
  choose({ image, left, right, rate: rates.includes(rate) ? rate : viewer.rate });
  $("viewer").scrollIntoView({ block: "start" });
  $("stage").focus({ preventScroll: true });
}

function startViewer() {
  for (const [id, texts, name] of [
    ["layouts", LAYOUTS, "layout"],
    ["shows", SHOWS, "show"],
  ])
    $(id).append(
      ...Object.entries(texts).map(([value, text]) =>
        html("button", { type: "button", value, onclick: () => choose({ [name]: value }) }, text),
      ),
    );
  if (!data.pictures.some(({ importance }) => known(importance)))
    $("shows").lastChild.hidden = true;
  options(
    $("gain"),
    [1, 2, 4, 8, 16].map((times) => [times, `${times}×`]),
    4,
  );
  $("gain").addEventListener("change", drawViewer);
  for (const name of ["image", "left", "right"])
    $(`view-${name}`).addEventListener("change", (event) =>
      choose({ [name]: Number(event.target.value) }),
    );
  $("view-rate").addEventListener("change", (event) =>
    choose({ rate: ratesShown().find((rate) => String(rate) === event.target.value) }),
  );
  $("previous").addEventListener("click", () => turnTo(-1));
  $("next").addEventListener("click", () => turnTo(1));
  $("zoom-fit").addEventListener("click", zoomFit);
  $("zoom-real").addEventListener("click", zoomReal);
  $("zoom-in").addEventListener("click", () => zoom(2 * viewer.scale));
  $("zoom-out").addEventListener("click", () => zoom(viewer.scale / 2));
  $("full").addEventListener("click", toggleFullScreen);
  $("keys").append(
    ...KEYS.filter(([, name]) => name).flatMap(([, name, what]) => [
      html("dt", {}, html("kbd", {}, name)),
      html("dd", {}, what),
    ]),
    html("dt", {}, "Click, tap"),
    html("dd", {}, "flip, where one picture is in the other's place"),
    html("dt", {}, "Held button or finger"),
    html("dd", {}, "the original"),
    html("dt", {}, "Wheel, two fingers"),
    html("dd", {}, "zoom, after a click into the picture or with Ctrl"),
  );
  document.addEventListener("keydown", pressed);
  document.addEventListener(
    "keyup",
    (event) => event.key.toLowerCase() === "o" && viewer.original && choose({ original: false }),
  );
  $("stage").addEventListener("blur", () => viewer.original && choose({ original: false }));
  listenToPointers($("stage"));
  document.addEventListener("fullscreenchange", fullScreenChanged);
  $("full").hidden = !document.fullscreenEnabled;
}
