// The pictures: original, A and B in one place, one of their pixels on one of the screen's.
const stage = $("stage");
const context = stage.getContext("2d", { alpha: false });
const GREY = "#777777";
const shown = { view: "original", pictures: {}, x: 0, y: 0, width: 1, height: 1 };

const decoded = new Map();
/** The pixels of a picture; colours are left as they are. */
function bitmap(picture) {
  if (!decoded.has(picture)) {
    const bytes = Uint8Array.from(atob($(`blob-${picture}`).textContent), (c) => c.codePointAt(0));
    const blob = new Blob([bytes], { type: "image/png" });
    decoded.set(picture, createImageBitmap(blob, { colorSpaceConversion: "none" }));
    if (decoded.size > 9) decoded.delete(decoded.keys().next().value);
  }
  return decoded.get(picture);
}

async function load(trial) {
  const [left, right] = trial,
    original = data.originals[data.pictures[left][1]];
  const views = { original, left, right };
  const bitmaps = await Promise.all(Object.values(views).map(bitmap));
  return Object.fromEntries(Object.keys(views).map((view, i) => [view, bitmaps[i]]));
}

/** Show the pictures of a trial, the original first. */
function put(pictures) {
  Object.assign(shown, { pictures, view: "original" });
  ({ width: shown.width, height: shown.height } = pictures.original);
  shown.x = (stage.width - shown.width) / 2;
  shown.y = (stage.height - shown.height) / 2;
  draw();
}

function draw() {
  const picture = shown.pictures[shown.view];
  // A picture that is smaller than the stage stands in its middle; a larger one covers it.
  const within = (at, size, room) =>
    Math.round(size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
  shown.x = within(shown.x, shown.width, stage.width);
  shown.y = within(shown.y, shown.height, stage.height);
  context.imageSmoothingEnabled = false;
  context.fillStyle = GREY;
  context.fillRect(0, 0, stage.width, stage.height);
  if (picture) context.drawImage(picture, shown.x, shown.y);
  const names = { original: "The original", left: "Picture A", right: "Picture B" };
  stage.setAttribute("aria-label", names[shown.view]);
  stage.dataset.drawn = shown.view;
}

function pan(x, y) {
  shown.x += x;
  shown.y += y;
  draw();
}

// The stage has as many pixels as the screen has there, whatever the zoom.
const fit = (width, height) => {
  const middle = [shown.x - stage.width / 2, shown.y - stage.height / 2];
  Object.assign(stage, { width, height });
  [shown.x, shown.y] = [middle[0] + width / 2, middle[1] + height / 2];
  draw();
};
const observer = new ResizeObserver(([entry]) => {
  const [exact] = entry.devicePixelContentBoxSize || [];
  const sides = [entry.contentRect.width, entry.contentRect.height];
  const about = sides.map((side) => side * window.devicePixelRatio);
  // Rounding aside the two agree, but where a browser is made to imitate another screen.
  const agrees = exact && Math.abs(exact.inlineSize - about[0]) <= 2;
  if (agrees) fit(exact.inlineSize, exact.blockSize);
  else fit(...about.map(Math.round));
});
try {
  observer.observe(stage, { box: "device-pixel-content-box" });
} catch {
  observer.observe(stage); // older Safari
}

// One finger, or the mouse, moves the picture; a tap or a click switches between A and B.
const drag = { pointer: null, x: 0, y: 0, moved: 0 };
stage.addEventListener("pointerdown", (event) => {
  if (drag.pointer !== null || event.button > 0) return;
  Object.assign(drag, { pointer: event.pointerId, x: event.clientX, y: event.clientY, moved: 0 });
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  if (event.pointerId !== drag.pointer) return;
  const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
  drag.moved += Math.abs(x) + Math.abs(y);
  Object.assign(drag, { x: event.clientX, y: event.clientY });
  if (drag.moved > 6) pan(x * window.devicePixelRatio, y * window.devicePixelRatio);
});
stage.addEventListener("pointerup", (event) => {
  if (event.pointerId !== drag.pointer) return;
  drag.pointer = null;
  if (drag.moved <= 6) show(shown.view === "left" ? "right" : "left");
});
stage.addEventListener("pointercancel", () => {
  drag.pointer = null;
});
