// The BD-rate matrix, and the images one by one.
const tone = (percent) => (percent > 0 ? "worse" : "better");

function drawMatrix() {
  const set = currentDataset(),
    bd = set.bd[state.metric],
    why = new Set();
  const codecs = data.codecs
    .map((_, i) => i)
    .filter((i) => state.shown.has(i) && set.curves[state.metric][i]);
  const cell = (anchor, test) => {
    if (anchor === test) return html("td", { class: "none" }, "");
    const rate = bd[anchor][test],
      pair = `${data.codecs[test].name} against ${data.codecs[anchor].name}`;
    if (typeof rate === "string") {
      why.add(rate);
      return html("td", { class: "none", title: `${pair}: ${rate}` }, "–");
    }
    const depth = 0.08 + 0.5 * Math.min(1, Math.abs(Math.log1p(rate / 100)) / Math.log(2.5));
    return html(
      "td",
      { class: tone(rate), title: pair, "--depth": depth.toFixed(2) },
      `${signed(rate, 1)} %`,
    );
  };
  $("matrix").replaceChildren(
    html(
      "table",
      {},
      html(
        "thead",
        {},
        html(
          "tr",
          {},
          html("td", { class: "none" }, ""),
          ...codecs.map((i) => html("th", { scope: "col" }, data.codecs[i].name)),
        ),
      ),
      html(
        "tbody",
        {},
        ...codecs.map((test) =>
          html(
            "tr",
            {},
            html("th", { scope: "row" }, data.codecs[test].name),
            ...codecs.map((anchor) => cell(anchor, test)),
          ),
        ),
      ),
    ),
  );
  $("matrix-notes").replaceChildren(
    ...(why.size ? [html("p", {}, `– undefined: ${[...why].join("; ")}.`)] : []),
  );
}

/** An image's quality at a rate, on straight lines over log rate; null outside of its curve. */
function qualityAt(own, rate) {
  if (!own) return null;
  const points = own.bpp
    .map((x, i) => [x, own.value[i]])
    .filter(([x, y]) => known(x) && known(y))
    .toSorted((a, b) => a[0] - b[0]);
  const next = points.findIndex(([x]) => x >= rate);
  if (next < 0) return null;
  const [x1, y1] = points[next];
  if (x1 === rate) return y1;
  if (next === 0) return null;
  const [x0, y0] = points[next - 1];
  return y0 + ((y1 - y0) * Math.log(rate / x0)) / Math.log(x1 / x0);
}

const sorting = { column: 1, down: true };

function drawTable() {
  const set = currentDataset(),
    metric = state.metric,
    codec = Number($("table-codec").value),
    anchor = Number($("table-anchor").value);
  const rate = Number($("table-rate").value),
    byImage = set.byImage[metric];
  const [ours, theirs] = [data.codecs[codec].name, data.codecs[anchor].name];
  const bd = set.bdByImage[metric][anchor][codec];
  const rows = set.images.map((image, i) => {
    const [a, b] = [codec, anchor].map((c) => qualityAt(byImage[c] && byImage[c][i], rate));
    return { i, cells: [image.name, bd ? bd[i] : null, a, b, known(a) && known(b) ? a - b : null] };
  });
  // What is not known goes last, whichever way the others are sorted.
  const { column, down } = sorting;
  rows.sort(({ cells: a }, { cells: b }) => {
    if (!known(a[column]) || !known(b[column])) return known(b[column]) - known(a[column]);
    const order =
      typeof a[column] === "string"
        ? a[column].localeCompare(b[column], undefined, { numeric: true })
        : a[column] - b[column];
    return down ? -order : order;
  });
  const shown = currentMetric(),
    unit = shown.unit ? ` [${shown.unit}]` : "";
  const span = Math.max(10, ...rows.map(({ cells }) => Math.abs(cells[1] ?? 0)));
  const heads = [
    "Image",
    `BD-rate against ${theirs}`,
    `${ours}${unit}`,
    `${theirs}${unit}`,
    `Difference${unit}`,
  ];
  const head = heads.map((text, i) =>
    html(
      "th",
      {
        scope: "col",
        class: i ? null : "left",
        "aria-sort": i === column ? (down ? "descending" : "ascending") : null,
      },
      html(
        "button",
        { type: "button", onclick: () => sortBy(i) },
        text + (i === column ? (down ? " ↓" : " ↑") : ""),
      ),
    ),
  );
  const bar = (value) => known(value) && html("i", { "--bar": "" });
  const body = rows.map(({ i, cells }) => {
    const value = cells[1],
      mark = bar(value);
    if (mark) {
      mark.style.width = `${(50 * Math.abs(value)) / span}%`;
      mark.style[value > 0 ? "left" : "right"] = "50%";
    }
    return html(
      "tr",
      {},
      html(
        "td",
        { class: "left" },
        html("button", { type: "button", onclick: () => view(i, anchor, codec, rate) }, cells[0]),
      ),
      html(
        "td",
        { class: `barcell ${known(value) ? tone(value) : ""}` },
        ...(mark ? [mark] : []),
        html("span", {}, known(value) ? `${signed(value, 1)} %` : "–"),
      ),
      html("td", {}, fixed(cells[2], shown.digits)),
      html("td", {}, fixed(cells[3], shown.digits)),
      html("td", {}, signed(cells[4], shown.digits)),
    );
  });
  const some =
    set.images.length < set.measured
      ? [
          html(
            "p",
            { class: "note" },
            `${set.images.length} of ${plural(set.measured, "image")}, at even distances.`,
          ),
        ]
      : [];
  $("table").replaceChildren(
    ...some,
    html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...body)),
  );
}

function sortBy(column) {
  sorting.down = sorting.column === column ? !sorting.down : column === 1;
  sorting.column = column;
  drawTable();
  $("table").querySelectorAll("th button")[column].focus();
}
