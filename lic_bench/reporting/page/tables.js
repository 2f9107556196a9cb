// The BD-rate matrix, and the images one by one.
const tone = (percent) => (percent > 0 ? "worse" : "better");

const matrix = { by: null };

/** The codecs that are shown, those that need the fewest bits against one of them first. */
function codecsByRate(bd) {
  const codecs = [...data.codecs.keys()].filter(
    (i) => state.shown.has(i) && averaged().curves[state.metric][i],
  );
  const anchor = codecs.includes(matrix.by) ? matrix.by : Number($("table-anchor").value);
  const rate = (codec) => {
    if (codec === anchor) return 0;
    const value = bd[anchor]?.[codec];
    return typeof value === "number" ? value : Infinity;
  };
  return codecs.toSorted((a, b) => (rate(a) === rate(b) ? a - b : rate(a) - rate(b)));
}

function drawMatrix() {
  const set = averaged(),
    bd = set.bd[state.metric],
    ranges = set.bdRange?.[state.metric],
    why = new Set();
  const codecs = codecsByRate(bd);
  const cell = (anchor, test) => {
    if (anchor === test) return html("td", { class: "none" }, "");
    const rate = bd[anchor][test],
      pair = `${data.codecs[test].name} against ${data.codecs[anchor].name}`;
    if (typeof rate === "string") {
      why.add(rate);
      return html("td", { class: "none", title: `${pair}: ${rate}` }, "–");
    }
    const ends = ranges?.[anchor]?.[test],
      unsure = Boolean(ends) && ends[0] <= 0 && ends[1] >= 0;
    const depth = 0.08 + 0.4 * Math.min(1, Math.abs(Math.log1p(rate / 100)) / Math.log(2.5));
    return html(
      "td",
      {
        class: `${tone(rate)}${unsure ? " unsure" : ""}`,
        title: pair,
        "--depth": unsure ? 0.04 : depth.toFixed(2),
      },
      `${signed(rate, 1)} %`,
      ends ? html("small", {}, `${signed(ends[0], 1)} to ${signed(ends[1], 1)}`) : "",
    );
  };
  const head = (i) =>
    html(
      "th",
      { scope: "col" },
      html(
        "button",
        {
          type: "button",
          title: "Sort by this column",
          onclick: () => {
            matrix.by = i;
            drawMatrix();
          },
        },
        breakable(data.codecs[i].name),
      ),
    );
  $("matrix").replaceChildren(
    html(
      "table",
      {},
      html("thead", {}, html("tr", {}, html("td", { class: "none" }, ""), ...codecs.map(head))),
      html(
        "tbody",
        {},
        ...codecs.map((test) =>
          html(
            "tr",
            {},
            html("th", { scope: "row" }, breakable(data.codecs[test].name)),
            ...codecs.map((anchor) => cell(anchor, test)),
          ),
        ),
      ),
    ),
  );
  $("matrix-notes").replaceChildren(
    ...(why.size ? [html("p", {}, `– undefined: ${[...why].join("; ")}.`)] : []),
  );
  drawEqualRates(codecs);
}

/** The quality of each averaged curve at the common rates. */
function drawEqualRates(codecs) {
  const { rates } = currentDataset(),
    { atRates } = averaged(),
    { label, digits } = currentMetric();
  const rows = codecs.filter((i) => atRates?.[state.metric][i]);
  $("equal-rates").hidden = !rows.length;
  if (!rows.length) return;
  const best = rates.map((_, k) => {
    const values = rows.map((i) => atRates[state.metric][i][k]).filter(known);
    return currentMetric().better === "lower" ? Math.min(...values) : Math.max(...values);
  });
  $("equal").replaceChildren(
    html(
      "table",
      {},
      html(
        "thead",
        {},
        html(
          "tr",
          {},
          html("th", { class: "left", scope: "col" }, label),
          ...rates.map((rate) => html("th", { scope: "col" }, `${rate} bpp`)),
        ),
      ),
      html(
        "tbody",
        {},
        ...rows.map((i) =>
          html(
            "tr",
            {},
            html("th", { scope: "row" }, data.codecs[i].name),
            ...atRates[state.metric][i].map((value, k) =>
              html("td", { class: value === best[k] ? "best" : null }, fixed(value, digits)),
            ),
          ),
        ),
      ),
    ),
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
  const rows = set.images
    .map((image, i) => {
      const [a, b] = [codec, anchor].map((c) => qualityAt(byImage[c] && byImage[c][i], rate));
      return {
        i,
        cells: [image.name, bd ? bd[i] : null, a, b, known(a) && known(b) ? a - b : null],
      };
    })
    .filter(({ i }) => tagged(i));
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
