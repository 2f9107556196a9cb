// What people judged, study by study: a forest plot, a win matrix, and which metric agrees.
const percent = (value) => `${Math.round(100 * value)} %`;
const range = ({ low, high }, digits) => `${signed(low, digits)} to ${signed(high, digits)}`;

function drawPeople() {
  const studies = data.people || [];
  $("people").hidden = $("people-link").hidden = studies.length === 0;
  $("studies").replaceChildren(...studies.map(study));
}

function study(one) {
  const title = html("h3", {}, `${one.dataset} at ${one.target}`);
  if (known(one.undefined))
    return html("article", {}, title, html("p", { class: "note" }, one.undefined));
  const unequal = one.unequal
    ? ` ${plural(one.unequal, "answer")} about pairs whose rates differ by more than 5 %.`
    : "";
  return html(
    "article",
    {},
    title,
    html(
      "p",
      { class: "quiet" },
      `${plural(one.answers, "answer")} by ${plural(one.raters, "rater")} about ` +
        `${plural(one.images.length, "image")}.${unequal}`,
    ),
    forest(one.scores),
    scrolling("Who was preferred to whom", winMatrix(one)),
    one.metrics.length ? scrolling("Metrics beside people", metricTable(one.metrics)) : "",
    html("p", { class: "quiet" }, [...one.checks, ...one.notes].join("; ") + "."),
  );
}

const scrolling = (label, ...inner) =>
  html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, ...inner);

function forest(scores) {
  const low = Math.min(0, ...scores.map(({ jod }) => jod.low)),
    high = Math.max(0, ...scores.map(({ jod }) => jod.high));
  const at = (jod) => `${(100 * (jod - low)) / (high - low || 1)}%`;
  const row = ({ codec, jod, elo }) =>
    html(
      "tr",
      {},
      html("th", { scope: "row" }, codec),
      html(
        "td",
        { class: "forest" },
        svg(
          "svg",
          { "aria-hidden": "true" },
          svg("line", { class: "zero", x1: at(0), x2: at(0), y1: 0, y2: 24 }),
          svg("line", { class: "reach", x1: at(jod.low), x2: at(jod.high), y1: 12, y2: 12 }),
          svg("circle", { cx: at(jod.value), cy: 12, r: 4.5 }),
        ),
      ),
      html("td", {}, signed(jod.value, 2)),
      html("td", {}, range(jod, 2)),
      html("td", {}, fixed(elo.value, 0)),
    );
  const heads = ["", "Score", "JOD", "95 %", "Elo"].map((text) => html("th", {}, text));
  return scrolling(
    "Scores",
    html(
      "table",
      { class: "people" },
      html("thead", {}, html("tr", {}, ...heads)),
      html("tbody", {}, ...scores.map(row)),
    ),
  );
}

function winMatrix({ scores, wins, ties }) {
  const names = scores.map(({ codec }) => codec);
  const cell = (i, j) => {
    const decided = wins[i][j] + wins[j][i];
    if (i === j || decided + ties[i][j] === 0) return html("td", {}, "");
    const title = `${wins[i][j]} : ${wins[j][i]}, ${ties[i][j]} could not tell`;
    return html("td", { title }, decided ? percent(wins[i][j] / decided) : "–");
  };
  return html(
    "table",
    { class: "people" },
    html("caption", {}, "Row preferred to column, of the answers that prefer one"),
    html("thead", {}, html("tr", {}, html("th"), ...names.map((name) => html("th", {}, name)))),
    html(
      "tbody",
      {},
      ...names.map((name, i) =>
        html("tr", {}, html("th", { scope: "row" }, name), ...names.map((_, j) => cell(i, j))),
      ),
    ),
  );
}

function metricTable(metrics) {
  const row = ({ metric, share, rank }) =>
    html(
      "tr",
      {},
      html("th", { scope: "row" }, metric),
      html("td", {}, percent(share.value)),
      html("td", {}, `${percent(share.low)} to ${percent(share.high)}`),
      html("td", {}, signed(rank.value, 2)),
      html("td", {}, known(rank.low) ? range(rank, 2) : ""),
    );
  const heads = ["", "Share", "95 %", "Rank correlation", "95 %"];
  return html(
    "table",
    { class: "people" },
    html("caption", {}, "Which metric should you have believed? Answers in which each agrees"),
    html("thead", {}, html("tr", {}, ...heads.map((text) => html("th", {}, text)))),
    html("tbody", {}, ...metrics.map(row)),
  );
}
