// Rate-distortion curves as SVG: switched on and off, named under the pointer, walked by the arrow
// keys.
const DASHES = ["", "8 3", "8 3 2 3", "2 2"];
const MARKERS = [
  "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
  "M-3.5,-3.5h7v7h-7z",
  "M0,-4.6L4.4,3.6H-4.4z",
  "M0,-5L5,0L0,5L-5,0z",
  "M0,4.6L4.4,-3.6H-4.4z",
  "M-1.6,-4.5h3.2v2.9h2.9v3.2h-2.9v2.9h-3.2v-2.9h-2.9v-3.2h2.9z",
  "M0,-2.2L2.6,-4.8L4.8,-2.6L2.2,0L4.8,2.6L2.6,4.8" +
    "L0,2.2L-2.6,4.8L-4.8,2.6L-2.2,0L-4.8,-2.6L-2.6,-4.8z",
  "M-4.6,0L3.6,-4.4V4.4z",
  "M4.6,0L-3.6,-4.4V4.4z",
  "M0,-4.8L2.6,0L0,4.8L-2.6,0z",
  "M0,-4.8L4.6,-1.5L2.8,3.9H-2.8L-4.6,-1.5z",
];
/** As in figures, it follows from a codec's name; published curves are told apart in grey. */
function look(codec) {
  const [colour, line, marker] = data.codecs[codec].look || [null, codec, codec];
  return {
    "--series": known(colour) ? `var(--c${colour})` : "var(--published)",
    dash: DASHES[line % DASHES.length],
    marker: MARKERS[marker % MARKERS.length],
  };
}
/** The class of what was not measured by a run. */
const origin = (codec) =>
  data.codecs[codec].published ? "published" : data.codecs[codec].imported ? "imported" : "";

/** Round figures for an axis, about so many. */
function ticks(low, high, number, logarithmic) {
  if (logarithmic) {
    const marks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const digit of [1, 2, 5]) marks.push(digit * 10 ** power);
    const inside = marks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
    if (inside.length > 1)
      return inside.length <= number + 4
        ? inside
        : inside.filter((tick) => tick.toExponential().startsWith("1"));
  }
  const rough = (high - low) / number,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((digit) => digit * power >= rough) * power;
  const marks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    marks.push(Number((i * step).toPrecision(10)));
  return marks;
}

/** The points of the codecs that are shown, by codec. */
function seriesShown() {
  const set = currentDataset(),
    metric = state.metric,
    axis = $("axis").value,
    image = $("curve-image").value;
  const limit = axis === "bpp" && $("limit").value ? Number($("limit").value) : Infinity;
  const series = [];
  data.codecs.forEach((_, codec) => {
    const curve = (image === "" ? averaged() : set).curves[metric][codec];
    if (!curve || !state.shown.has(codec)) return;
    const own = image === "" ? curve : (set.byImage[metric][codec] || [])[Number(image)];
    if (!own) return;
    const points = curve.points
      .map((point, i) => ({
        codec,
        point,
        bpp: own.bpp[i],
        y: own.value[i],
        encode: curve.encode_s[i],
        decode: curve.decode_s[i],
        x: axis === "bpp" ? own.bpp[i] : curve[axis][i],
      }))
      .filter(({ x, y }) => known(x) && known(y) && (x > 0 || !$("log").checked));
    if (points.some(({ x }) => x <= limit)) series.push({ codec, points, limit });
  });
  return series;
}

const chart = { points: [], active: null, zoomed: null };

function drawChart() {
  const host = $("chart"),
    all = seriesShown(),
    axis = $("axis").value,
    logarithmic = $("log").checked;
  const metric = currentMetric();
  host.replaceChildren();
  host.classList.remove("hovering");
  chart.points = [];
  chart.active = null;
  drawNotes(all, metric, axis);
  if (!all.length) {
    host.append(
      html(
        "p",
        { class: "note" },
        "There is nothing to draw: switch a codec on, or choose another metric.",
      ),
    );
    return;
  }
  const width = Math.max(host.clientWidth, 280),
    roomy = width > 700;
  const height = Math.round(Math.min(540, Math.max(330, width * 0.5)));
  const box = { left: 52, right: width - 14, top: 12, bottom: height - 46 };
  // What others published stretches no axis beyond what was measured.
  const measured = all.filter(({ codec }) => !data.codecs[codec].published);
  const leading = measured.length ? measured : all;
  const limit = all[0].limit,
    nameWidth = (codec) => 7.2 * shortened(data.codecs[codec].name, 22).length + 14;
  const inside = leading.flatMap(({ points }) => points.filter(({ x }) => x <= limit));
  const [xs, ys] = [inside.map(({ x }) => x), inside.map(({ y }) => y)];
  const [low, high] = chart.zoomed || [
    logarithmic ? Math.min(...xs) / 1.1 : 0,
    Number.isFinite(limit) ? limit : Math.max(...xs) * (logarithmic ? 1.1 : 1.03) || 1,
  ];
  $("whole").hidden = !chart.zoomed;
  const unit = logarithmic
    ? (x) => (Math.log(x) - Math.log(low)) / (Math.log(high) - Math.log(low) || 1)
    : (x) => (x - low) / (high - low);
  // Room for the names of the curves that end near the right edge.
  if (roomy) {
    const plain = box.right - box.left;
    box.right -= Math.max(
      0,
      ...all.map(({ codec, points }) => {
        const last = points.findLast(({ x }) => x >= low && x <= high);
        return last ? nameWidth(codec) - (1 - unit(last.x)) * plain : 0;
      }),
    );
  }
  const span = Math.max(...ys) - Math.min(...ys);
  const pad = metric.unit === "dB" ? Math.max(span * 0.06, 0.25) : span * 0.06 || 0.25;
  const [bottom, top] = chart.zoomed
    ? chart.zoomed.slice(2)
    : [Math.min(...ys) - pad, Math.max(...ys) + pad];
  const px = (x) => box.left + unit(x) * (box.right - box.left);
  const py = (y) => box.bottom - ((y - bottom) / (top - bottom)) * (box.bottom - box.top);

  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    height,
    tabindex: 0,
    role: "img",
    "aria-label": `${metric.label} against ${axisName(axis)}. Arrow keys walk from point to point.`,
  });
  picture.append(
    svg(
      "clipPath",
      { id: "plot" },
      svg("rect", {
        x: box.left,
        y: box.top - 6,
        width: box.right - box.left + 6,
        height: box.bottom - box.top + 12,
      }),
    ),
  );
  for (const tick of ticks(low, high, roomy ? 9 : 5, logarithmic)) {
    picture.append(
      svg("line", { class: "grid", x1: px(tick), x2: px(tick), y1: box.top, y2: box.bottom }),
    );
    picture.append(
      svg("text", { x: px(tick), y: box.bottom + 18, "text-anchor": "middle" }, figures(tick, 4)),
    );
  }
  for (const tick of ticks(bottom, top, 7, false)) {
    picture.append(
      svg("line", { class: "grid", x1: box.left, x2: box.right, y1: py(tick), y2: py(tick) }),
    );
    picture.append(
      svg("text", { x: box.left - 8, y: py(tick) + 4, "text-anchor": "end" }, figures(tick, 4)),
    );
  }
  picture.append(
    svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
  );
  picture.append(
    svg(
      "text",
      { x: (box.left + box.right) / 2, y: height - 8, "text-anchor": "middle" },
      axisName(axis),
    ),
  );
  picture.append(
    svg(
      "text",
      {
        transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`,
        "text-anchor": "middle",
      },
      metric.label,
    ),
  );
  const cross = svg("g", { class: "cross", "aria-hidden": "true" });
  picture.append(cross);
  const names = [];
  // Published curves lie behind; of their many points a few are marked.
  const behind = (codec) => (data.codecs[codec].published ? 0 : 1);
  for (const { codec, points } of all.toSorted((a, b) => behind(a.codec) - behind(b.codec))) {
    const { dash, marker, ...colour } = look(codec);
    const group = svg("g", { class: `codec ${origin(codec)}`, "data-codec": codec, ...colour });
    const line = points.map(({ x, y }) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" ");
    group.append(
      svg("polyline", {
        class: "series",
        points: line,
        "stroke-dasharray": dash,
        "clip-path": "url(#plot)",
      }),
    );
    const seen = points.filter(({ x, y }) => x >= low && x <= high && y >= bottom && y <= top);
    const marked = behind(codec) ? 1 : Math.ceil(seen.length / 8);
    for (const [i, point] of seen.entries()) {
      const at = { ...point, px: px(point.x), py: py(point.y) };
      chart.points.push(at);
      if ((seen.length - 1 - i) % marked === 0)
        group.append(
          svg("path", {
            class: "mark-shape",
            d: marker,
            transform: `translate(${at.px.toFixed(1)} ${at.py.toFixed(1)})`,
          }),
        );
    }
    if (roomy && seen.length) {
      const last = seen.at(-1);
      const label = svg("text", { class: "name" }, shortened(data.codecs[codec].name, 22));
      names.push({ label, codec, width: nameWidth(codec), x: px(last.x) + 9, y: py(last.y) + 4 });
    }
    picture.append(group);
  }
  placeNames(names);
  // In front of all lines.
  for (const { label, codec } of names)
    picture.append(
      svg("g", { class: "codec", "data-codec": codec, "--series": look(codec)["--series"] }, label),
    );
  const tip = html("div", { class: "tip", role: "status", hidden: true });
  host.append(picture, tip);
  const show = (point) => hover(host, cross, tip, point, { width, box, metric });
  picture.addEventListener("pointermove", (event) => {
    const place = picture.getBoundingClientRect();
    const x = event.clientX - place.left,
      y = event.clientY - place.top;
    if (box.from) return stretch(x, y);
    show(nearestPoint(x, y, 60));
  });
  const place = (event) => {
    const frame = picture.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  const within = (value, one, other) =>
    Math.min(Math.max(value, Math.min(one, other)), Math.max(one, other));
  const band = svg("rect", { class: "band", "aria-hidden": "true" });
  const corners = (x, y) => [
    ...[box.from[0], x].map((at) => within(at, box.left, box.right)).toSorted((a, b) => a - b),
    ...[box.from[1], y].map((at) => within(at, box.top, box.bottom)).toSorted((a, b) => a - b),
  ];
  const stretch = (x, y) => {
    const [x0, x1, y0, y1] = corners(x, y);
    for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 }))
      band.setAttribute(name, value);
    cross.replaceChildren(band);
  };
  const valueAt = (x) => {
    const share = (x - box.left) / (box.right - box.left);
    return logarithmic ? low * (high / low) ** share : low + share * (high - low);
  };
  const qualityOf = (y) => bottom + ((box.bottom - y) / (box.bottom - box.top)) * (top - bottom);
  picture.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button) return;
    box.from = place(event);
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointerup", (event) => {
    const [x, y] = place(event),
      from = box.from;
    if (from && Math.abs(x - from[0]) > 8 && Math.abs(y - from[1]) > 8) {
      const [x0, x1, y0, y1] = corners(x, y);
      return zoomChart([valueAt(x0), valueAt(x1), qualityOf(y1), qualityOf(y0)]);
    }
    box.from = null;
    const point = nearestPoint(x, y, 24);
    if (point) showPoint(point);
  });
  picture.addEventListener("dblclick", () => chart.zoomed && zoomChart(null));
  picture.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(null));
  picture.addEventListener("blur", () => show(null));
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && chart.active) return showPoint(chart.active);
    const next = neighbour(event.key);
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  });
}

function nearestPoint(x, y, most) {
  const away = (p) => Math.hypot(p.px - x, p.py - y);
  const nearest = chart.points.reduce((best, p) => (away(p) < away(best) ? p : best), {
    px: Infinity,
    py: Infinity,
  });
  return away(nearest) < most ? nearest : null;
}

/** Show a part of the chart: rates from and to, qualities from and to; or all of it. */
function zoomChart(range) {
  chart.zoomed = range;
  drawChart();
  remember();
}

/** Show the picture that is nearest to a point, of the image that is drawn or looked at. */
function showPoint({ codec, bpp: rate }) {
  const image = $("curve-image").value === "" ? viewer.image : Number($("curve-image").value);
  const name = currentDataset().images[image]?.name;
  const away = (p) => Math.abs(Math.log(p.bpp / rate));
  const [nearest] = picturesHere()
    .filter((p) => p.image === name && p.codec === codec && known(p.data))
    .toSorted((a, b) => away(a) - away(b));
  if (nearest) view(image, viewer.left === codec ? viewer.right : viewer.left, codec, nearest.rate);
}

const pointName = (codec, point) => [data.codecs[codec].unit, point].filter(Boolean).join(" ");
const shortened = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
const axisName = (axis) =>
  ({ bpp: "Rate [bpp]", encode_s: "Encoding [s per image]", decode_s: "Decoding [s per image]" })[
    axis
  ];

/** Move names apart that would lie over each other: each down to below those above it. */
function placeNames(names) {
  names.sort((a, b) => a.y - b.y);
  names.forEach((name, i) => {
    for (const other of names.slice(0, i))
      if (name.x < other.x + other.width && other.x < name.x + name.width && name.y < other.y + 15)
        name.y = other.y + 15;
    name.label.setAttribute("x", name.x);
    name.label.setAttribute("y", name.y);
  });
}

/** The point that an arrow key leads to, along a curve or to the next; undefined for other keys. */
function neighbour(key) {
  if (key === "Escape") return null;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: -1, ArrowDown: 1 }[key];
  if (!step) return undefined;
  if (!chart.active) return chart.points[0];
  if (key === "ArrowRight" || key === "ArrowLeft") {
    const own = chart.points.filter(({ codec }) => codec === chart.active.codec);
    return own[Math.min(own.length - 1, Math.max(0, own.indexOf(chart.active) + step))];
  }
  const codecs = [...new Set(chart.points.map(({ codec }) => codec))];
  const codec = codecs[(codecs.indexOf(chart.active.codec) + step + codecs.length) % codecs.length];
  const own = chart.points.filter((point) => point.codec === codec);
  return own.reduce((best, p) =>
    Math.abs(p.px - chart.active.px) < Math.abs(best.px - chart.active.px) ? p : best,
  );
}

function hover(host, cross, tip, point, { width, box, metric }) {
  chart.active = point;
  host.classList.toggle("hovering", Boolean(point));
  cross.replaceChildren();
  tip.hidden = !point;
  for (const group of host.querySelectorAll(".codec"))
    group.classList.toggle("active", point && Number(group.dataset.codec) === point.codec);
  if (!point) return;
  cross.append(
    svg("line", { x1: box.left, x2: point.px, y1: point.py, y2: point.py }),
    svg("line", { x1: point.px, x2: point.px, y1: point.py, y2: box.bottom }),
  );
  const codec = data.codecs[point.codec];
  const rows = [
    ["Point", pointName(point.codec, point.point)],
    ["Rate", bpp(point.bpp)],
    [metric.title, `${fixed(point.y, metric.digits)} ${metric.unit}`],
  ];
  if (!codec.published)
    rows.push(["Encode", seconds(point.encode)], ["Decode", seconds(point.decode)]);
  tip.style.setProperty("--series", look(point.codec)["--series"]);
  tip.replaceChildren(
    html("b", {}, codec.name),
    html(
      "dl",
      {},
      ...rows
        .filter(([, text]) => text)
        .flatMap(([name, text]) => [html("dt", {}, name), html("dd", {}, text)]),
    ),
  );
  const left =
    point.px + 16 + tip.offsetWidth > width
      ? Math.max(0, point.px - 16 - tip.offsetWidth)
      : point.px + 16;
  tip.style.left = `${left}px`;
  tip.style.top = `${Math.max(0, point.py - tip.offsetHeight - 10)}px`;
}

const tagName = () => (state.tag === null ? "" : `${averaged().name}, `);

function drawNotes(all, metric, axis) {
  const set = currentDataset(),
    image = $("curve-image").value;
  const parts = [
    image === ""
      ? `${set.name}, ${tagName()}${plural(averaged().size, "image")}: ${metric.rule}.`
      : `${set.name}, ${set.images[Number(image)].name} alone.`,
  ];
  if (axis !== "bpp")
    parts.push(
      "Times are means over all images, taken while other workers ran: for the order of magnitude.",
    );
  if (all.some(({ codec }) => data.codecs[codec].published))
    parts.push("Grey: published by others, not measured here.");
  if (all.some(({ codec }) => data.codecs[codec].imported))
    parts.push("Hollow, in colour: imported from elsewhere.");
  for (const { codec } of all)
    for (const why of averaged().curves[state.metric][codec]?.leftOut || [])
      parts.push(`Left out of ${data.codecs[codec].name}: ${why}.`);
  $("chart-note").textContent = parts.join(" ");
  const rows = all.flatMap(({ codec, points }) =>
    points.map((p) =>
      html(
        "tr",
        {},
        html("th", { scope: "row" }, data.codecs[codec].name),
        html("td", {}, pointName(codec, p.point)),
        html("td", {}, fixed(p.bpp, 4)),
        html("td", {}, fixed(p.y, metric.digits + 1)),
        html("td", {}, seconds(p.encode)),
        html("td", {}, seconds(p.decode)),
      ),
    ),
  );
  $("points").replaceChildren(
    html(
      "table",
      {},
      html(
        "thead",
        {},
        html(
          "tr",
          {},
          ...["Codec", "Point", "bpp", metric.label, "Encoding", "Decoding"].map((text, i) =>
            html("th", { scope: "col", class: i ? null : "left" }, text),
          ),
        ),
      ),
      html("tbody", {}, ...rows),
    ),
  );
}
