// The page as a whole: what is chosen for all of it, and what it says of itself.
const state = { dataset: 0, tag: null, metric: data.metrics[0].name, shown: new Set() };
const currentDataset = () => data.datasets[state.dataset];
/** What is averaged: all images of the data set, or those with the tag that is chosen. */
const averaged = () => (state.tag === null ? currentDataset() : currentDataset().tags[state.tag]);
const tagged = (image) => state.tag === null || averaged().images.includes(image);
const currentMetric = () => data.metrics.find(({ name }) => name === state.metric);

function setUpDataset() {
  const set = currentDataset(),
    names = data.codecs.map(({ name }, i) => [i, name]);
  const measured = names.filter(
    ([i]) => set.curves[state.metric][i] && !data.codecs[i].published && !set.averages.includes(i),
  );
  $("summary").textContent =
    `${set.name}: ${plural(set.size, "image")}, ${plural(measured.length, "codec")}. ` +
    `Made by lic-bench ${data.version} on ${data.made}.`;
  state.tag = null;
  options(
    $("tag"),
    [["", `all ${set.size}`], ...set.tags.map(({ name, size }, i) => [i, `${name}: ${size}`])],
    "",
  );
  $("tag").parentElement.hidden = !set.tags.length;
  fillImages();
  options($("table-codec"), measured, measured.at(-1)?.[0]);
  options(
    $("table-anchor"),
    measured,
    (measured.find(([, name]) => name === "jpeg") || measured[0])?.[0],
  );
  options(
    $("table-rate"),
    set.rates.map((rate) => [rate, `${rate} bpp`]),
    set.rates[Math.floor((set.rates.length - 1) / 2)],
  );
  drawAll();
  setUpViewer();
}

/** Name the images, those with the tag that is chosen, where one of them can be drawn alone. */
function fillImages() {
  const names = currentDataset().images.map(({ name }, i) => [i, name]);
  options($("curve-image"), [["", "all, averaged"], ...names.filter(([i]) => tagged(i))]);
}

/** Keep to the images with a tag, in all of the page; null: all images. */
function chooseTag(tag) {
  state.tag = tag;
  chart.zoomed = null;
  fillImages();
  drawAll();
  setUpViewer();
}

function drawAll() {
  drawChart();
  drawMatrix();
  drawTable();
}

function drawLegend() {
  const sample = (codec) => {
    const { dash, marker, ...colour } = look(codec);
    return svg(
      "svg",
      {
        width: 34,
        height: 12,
        viewBox: "0 0 34 12",
        "aria-hidden": "true",
        class: origin(codec),
        ...colour,
      },
      svg("line", { class: "series", x1: 0, x2: 34, y1: 6, y2: 6, "stroke-dasharray": dash }),
      svg("path", { class: "mark-shape", d: marker, transform: "translate(17 6)" }),
    );
  };
  const boxes = data.codecs.map(({ name }, codec) => {
    const box = html("input", { type: "checkbox", checked: state.shown.has(codec) });
    box.addEventListener("change", () => {
      state.shown[box.checked ? "add" : "delete"](codec);
      drawChart();
      drawMatrix();
    });
    return html("label", {}, box, sample(codec), name);
  });
  const all = (text, wanted) =>
    html(
      "button",
      {
        type: "button",
        onclick: () => {
          state.shown = new Set(wanted ? data.codecs.keys() : []);
          drawLegend();
          drawChart();
          drawMatrix();
        },
      },
      text,
    );
  $("legend").replaceChildren(
    $("legend").firstElementChild,
    ...boxes,
    all("All", true),
    all("None", false),
  );
}

function drawFailures() {
  if (!data.failures.length) return;
  const first = data.failed > data.failures.length ? `; the first ${data.failures.length}` : "";
  $("failures").append(
    html(
      "details",
      { class: "note" },
      html("summary", {}, `${plural(data.failed, "measurement")} failed${first}`),
      html(
        "ul",
        {},
        ...data.failures.map((f) =>
          html("li", {}, `${f.dataset}, ${f.image}, ${f.codec} ${f.point}: ${f.error}`),
        ),
      ),
    ),
  );
}

function drawProvenance() {
  const commands = [
    ...new Set([...data.runs.map(({ command }) => command), data.command].filter(Boolean)),
  ];
  $("commands").append(
    ...commands.map((command) => {
      const copy = html("button", { type: "button" }, "Copy");
      copy.addEventListener("click", async () => {
        await navigator.clipboard.writeText(command);
        copy.textContent = "Copied";
      });
      return html(
        "div",
        { class: "command" },
        html("pre", {}, command),
        navigator.clipboard ? copy : "",
      );
    }),
  );
  const text = (value) =>
    typeof value === "object"
      ? Object.entries(value)
          .map(([name, part]) => `${name} ${part}`)
          .join(" · ")
      : String(value);
  $("runs").append(
    ...data.runs.map(({ run, measurements, ...rest }) =>
      html(
        "details",
        { open: data.runs.length === 1 },
        html(
          "summary",
          {},
          `Run ${run}, ${String(rest.started).slice(0, 19).replace("T", " ")} UTC: ` +
            `${plural(measurements, "measurement")} of this page`,
        ),
        html(
          "dl",
          {},
          ...Object.entries(rest)
            .filter(([, value]) => known(value) && text(value) !== "")
            .flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, text(value))]),
        ),
      ),
    ),
  );
  $("footer").textContent = "One file, which asks the network for nothing.";
}

const DARK = window.matchMedia("(prefers-color-scheme: dark)");
function theme(name) {
  document.documentElement.dataset.theme = name;
}

function start() {
  theme(DARK.matches ? "dark" : "light");
  DARK.addEventListener("change", () => theme(DARK.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () =>
    theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
  );
  const names = data.datasets.map(({ name }) => name);
  $("title").textContent = `Image codecs on ${names.join(", ")}`;
  document.title = `${names.join(", ")} · lic-bench report`;
  state.shown = new Set(data.codecs.keys());
  options(
    $("dataset"),
    names.map((name, i) => [i, name]),
  );
  $("dataset").parentElement.hidden = names.length === 1;
  const twice = new Set(
    data.metrics.map(({ label }) => label).filter((label, i, all) => all.indexOf(label) !== i),
  );
  options(
    $("metric"),
    data.metrics.map(({ name, label, rule }) => [
      name,
      twice.has(label) ? `${label}, ${rule}` : label,
    ]),
  );
  options($("axis"), [
    ["bpp", "rate"],
    ["encode_s", "encoding time"],
    ["decode_s", "decoding time"],
  ]);
  options($("limit"), [
    ["", "all"],
    [2, "2 bpp"],
    [1, "1 bpp"],
    [0.5, "0.5 bpp"],
  ]);
  $("dataset").addEventListener("change", () => {
    state.dataset = Number($("dataset").value);
    setUpDataset();
  });
  $("tag").addEventListener("change", () =>
    chooseTag($("tag").value === "" ? null : Number($("tag").value)),
  );
  $("metric").addEventListener("change", () => {
    state.metric = $("metric").value;
    chart.zoomed = null;
    drawAll();
    drawViewer();
  });
  $("axis").addEventListener("change", () => {
    chart.zoomed = null;
    $("log").checked = $("axis").value !== "bpp";
    $("limit").disabled = $("axis").value !== "bpp";
    drawChart();
  });
  for (const id of ["limit", "log", "curve-image"])
    $(id).addEventListener("change", () => {
      chart.zoomed = null;
      drawChart();
    });
  $("whole").addEventListener("click", () => zoomChart(null));
  $("save-chart").addEventListener("click", () =>
    download(`${chartName()}.svg`, "image/svg+xml", chartAsSvg()),
  );
  $("save-points").addEventListener("click", () =>
    download(`${chartName()}.csv`, "text/csv", pointsAsCsv()),
  );
  for (const id of ["table-codec", "table-anchor", "table-rate"])
    $(id).addEventListener("change", drawTable);
  $("table-anchor").addEventListener("change", drawMatrix);
  drawLegend();
  drawFailures();
  drawProvenance();
  drawPeople();
  startViewer();
  setUpDataset();
  startAddress();
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) drawChart();
    width = window.innerWidth;
    if (data.pictures.length) arrange();
  });
  document.documentElement.dataset.ready = Math.round(performance.now());
}
start();
