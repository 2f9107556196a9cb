// What comes before, between and after the trials.
const CARD_MM = 85.6; // ISO/IEC 7810, ID-1: bank cards, most identity cards
const TOUCH = matchMedia("(pointer: coarse)").matches;

function screen(...content) {
  $("trial").hidden = true;
  $("screen").replaceChildren(...content);
  $("screen").hidden = false;
  document.documentElement.dataset.ready = "true";
  window.scrollTo(0, 0);
}
const heading = (text) => html("h1", {}, text);
const paragraph = (text, attributes = {}) => html("p", attributes, text);
const list = (...items) => html("ul", {}, ...items.map((item) => html("li", {}, item)));
const push = (text, onclick, attributes = {}) =>
  html("button", { type: "button", onclick, ...attributes }, text);
const actions = (...buttons) => html("div", { class: "actions" }, ...buttons);

function welcome() {
  const agreed = html("input", { type: "checkbox", id: "agreed" });
  const go = push("Begin", () => {
    session.consent = new Date().toISOString();
    setUp();
  });
  Object.assign(go, { id: "begin", className: "main", disabled: true });
  agreed.addEventListener("change", () => (go.disabled = !agreed.checked));
  const counted = data.orders[0].length - data.counted;
  screen(
    heading(data.title || "Which picture is closer to the original?"),
    paragraph(
      "You will see an original picture and two copies of it, A and B. Say which of the two is " +
        "closer to the original. There are no wrong answers: we want to know what you see.",
    ),
    paragraph(
      `There are ${counted} pairs, which take about ${Math.max(1, Math.round(counted / 4))} minutes` +
        (counted > data.pause ? ", with a break. " : ". ") +
        "Use a screen that you sit in front of, rather than a projector.",
    ),
    html("h2", {}, "What is recorded"),
    list(
      "your answers, how long each took, and how often you switched between the pictures;",
      "a name that you make up, the size and distance of your screen, the light in your room, " +
        "and what you may remark at the end.",
    ),
    paragraph(
      SERVED
        ? "They go to the computer that shows you this page, and nowhere else."
        : "They stay in this browser until you save them to a file and send it to whoever asked you.",
    ),
    paragraph(
      "Taking part is voluntary. You can stop at any time, by closing the page; what you have not " +
        "handed in is then used by nobody.",
    ),
    html(
      "label",
      { class: "check" },
      agreed,
      html("span", {}, "I have read this, and take part of my own free will."),
    ),
    actions(go),
  );
}

/** Browser zoom in per cent, as far as a desktop browser lets one guess it. */
function guessedZoom() {
  const zoom = Math.round((100 * window.outerWidth) / window.innerWidth);
  return window.outerWidth && !TOUCH ? zoom : null;
}

function setUp() {
  const name = html("input", { id: "rater", maxlength: 60, autocomplete: "off", required: true });
  name.value = session.rater || `rater-${random(3)}`;
  const zoomed = html("input", { type: "checkbox", id: "zoomed" });
  const guess = guessedZoom();
  const card = html("div", { id: "card" }, "bank card");
  const size = html("input", { type: "range", id: "size", min: 150, max: 900, step: 1 });
  size.value = 324;
  const fits = html("input", { type: "checkbox", id: "fits" });
  const resize = () => {
    card.style.width = `${size.value}px`;
    card.style.height = `${(size.value * 53.98) / CARD_MM}px`;
  };
  size.addEventListener("input", resize);
  resize();
  const distance = html("input", { id: "distance", type: "number", min: 10, max: 300, value: 60 });
  const light = html(
    "select",
    { id: "light" },
    ...["dim", "ordinary room light", "bright daylight"].map((text) => html("option", {}, text)),
  );
  light.selectedIndex = 1;
  const go = push("Go on", () => {
    session.rater = name.value.trim();
    session.about = {
      width: window.screen.width,
      height: window.screen.height,
      ratio: window.devicePixelRatio,
      zoom: guess,
      card_px: fits.checked ? Number(size.value) : null,
      distance_cm: Number(distance.value) || null,
      light: light.value,
      touch: TOUCH,
    };
    keep();
    beforeTraining();
  });
  go.id = "set-up";
  go.className = "main";
  const check = () => (go.disabled = !(name.value.trim() && zoomed.checked));
  name.addEventListener("input", check);
  zoomed.addEventListener("change", check);
  check();
  screen(
    heading("You and your screen"),
    html("label", {}, "A name that you make up, and keep if you come again", name),
    html("h2", {}, "Zoom"),
    paragraph(
      `Pictures are shown pixel by pixel. Set your browser’s zoom to 100 %${
        TOUCH ? "" : " (Ctrl and 0; ⌘ and 0 on a Mac)"
      }, and leave it there; do not magnify the page with two fingers.` +
        (guess && Math.abs(guess - 100) > 8 ? ` It looks like ${guess} % now.` : ""),
    ),
    html("label", { class: "check" }, zoomed, html("span", {}, "The zoom is 100 %.")),
    html("h2", {}, "Size of your screen"),
    paragraph(
      "Hold a bank card against the screen, and move the slider until the frame is of its size.",
    ),
    html("label", {}, "Size of the frame", size),
    card,
    html(
      "label",
      { class: "check" },
      fits,
      html("span", {}, "It fits. (Leave this empty if you have no card at hand.)"),
    ),
    html("h2", {}, "Your room"),
    html("label", {}, "From your eyes to the screen, in cm (an arm is about 60)", distance),
    html("label", {}, "Light", light),
    actions(go),
  );
}

function beforeTraining() {
  const keys = (text) => (TOUCH ? "" : text);
  screen(
    heading("How it works"),
    list(
      "The original, A and B are shown in the same place. Switch between them as often as you " +
        `like: with the buttons, ${keys("by ← for A, → for B and ↑ for the original, ")}or by a ` +
        `${TOUCH ? "tap" : "click"} on the picture, which switches between A and B.`,
      `If the picture is larger than your screen, drag it${keys(" (or hold Shift and press an arrow)")}.`,
      "When you have seen both, answer with the buttons below the picture" +
        `${keys(", or by 1 for A, 2 for “can’t tell”, 3 for B")}. ` +
        "“Can’t tell” is a good answer where you see no difference.",
      `Undo${keys(" (Backspace)")} takes the last answer back.`,
    ),
    paragraph(`First ${TRAINING} pairs for training, after which you are told the answer.`),
    actions(push("Begin the training", begin, { id: "train", class: "main" })),
  );
}

function afterTraining() {
  screen(
    heading("Now in earnest"),
    paragraph(
      "From now on you are not told whether an answer is right, and mostly nobody knows. Take the " +
        "time that you need. Some pairs are hard to tell apart, some are not.",
    ),
    actions(push("Begin", begin, { id: "earnest", class: "main" })),
  );
}

const problem = () =>
  server.problem
    ? paragraph(
        `The answers could not be handed in (${server.problem}). Save them to a file instead.`,
        { role: "alert" },
      )
    : "";

function pause() {
  const left = order().length - position();
  screen(
    heading("Time for a break"),
    paragraph(`${left} pairs are left. Look out of the window for a minute or two.`),
    problem(),
    paragraph(
      SERVED
        ? "Your answers so far are handed in. You can carry on now or later, in this browser."
        : "Your answers are kept in this browser, and you can carry on later. You can also save " +
            "those that you have given so far.",
    ),
    actions(
      push("Carry on", begin, { id: "carry-on", class: "main" }),
      push("Save answers so far", saveFile, { id: "save" }),
    ),
  );
}

function end() {
  const remark = html("textarea", { id: "remark", maxlength: 2000 });
  remark.value = session.remark;
  remark.addEventListener("input", () => {
    session.remark = remark.value;
    keep();
  });
  remark.addEventListener("change", () => handIn(session.trials.length));
  screen(
    heading("Thank you!"),
    paragraph("You have answered every pair."),
    problem(),
    html("label", {}, "Is there anything that you would like to remark?", remark),
    paragraph(
      SERVED
        ? "Your answers are handed in. You can close the page."
        : "Save your answers to a file, and send it to whoever asked you to take part.",
    ),
    actions(
      push(SERVED ? "Save a copy" : "Save answers", saveFile, { id: "save", class: "main" }),
      push("Another person answers", another, { id: "another" }),
    ),
  );
}

function another() {
  if (!SERVED) saveFile(); // nothing that was answered is lost
  session = newSession();
  welcome();
}

function comeBack() {
  const total = order().length;
  screen(
    heading("Welcome back"),
    paragraph(`${session.rater} has answered ${position()} of ${total} pairs in this browser.`),
    actions(
      push("Carry on", begin, { id: "carry-on", class: "main" }),
      push("Save answers so far", saveFile, { id: "save" }),
      push("Another person answers", another, { id: "another" }),
    ),
  );
}
