// A trial: switch, look, answer. Times are kept; there is no limit.
const SWITCHES = 2;
const trial = {
  ready: false,
  from: 0,
  switches: 0,
  seen: new Set(),
  undone: null,
  feedback: false,
};
const TRAINING = data.training[0].length;

const position = () => session.trials.length;
const asked = () => session.next?.position === position();
const current = () => (asked() ? session.next.pair : order()[position()]);
const mayAnswer = () =>
  trial.ready && !trial.feedback && trial.switches >= SWITCHES && trial.seen.size === 2;
// What was saved or handed in before a break, and training, which has told the answer, stay.
const mayUndo = () =>
  trial.ready && !trial.feedback && position() > Math.max(TRAINING, session.resting);

async function begin() {
  Object.assign(trial, { ready: false, switches: 0, feedback: false });
  trial.seen.clear();
  $("screen").hidden = true;
  $("trial").hidden = false;
  label();
  if (SERVED && !asked()) await handIn(Math.max(session.resting, position() - 1, 0));
  keep();
  const pictures = await load(current());
  put(pictures);
  trial.ready = true;
  trial.from = performance.now();
  stage.focus({ preventScroll: true });
  label();
  const following = order()[position() + 1];
  if (following && !SERVED) load(following);
}

function label() {
  const counted = order().length - data.counted,
    at = position() - Number(trial.feedback);
  const training = at < TRAINING;
  $("progress").textContent = training
    ? `Training ${at + 1} of ${TRAINING}`
    : at < data.counted
      ? "Warming up"
      : `${at - data.counted + 1} of ${counted}`;
  for (const button of $("views").children) {
    button.setAttribute("aria-pressed", String(button.dataset.view === shown.view));
    button.disabled = !trial.ready;
  }
  for (const button of $("answers").children) button.disabled = !mayAnswer();
  $("answers").hidden = trial.feedback;
  $("next").hidden = !trial.feedback;
  $("undo").disabled = !mayUndo();
  if (!trial.feedback)
    $("question").textContent = mayAnswer()
      ? "Which is closer to the original?"
      : trial.ready
        ? "Look at A and at B, as often as you like"
        : "One moment …";
  document.documentElement.dataset.ready = String(trial.ready);
}

function show(view) {
  if (!trial.ready || view === shown.view) return;
  shown.view = view;
  trial.switches += 1;
  if (view !== "original") trial.seen.add(view);
  draw();
  label();
}

function answer(given) {
  if (!mayAnswer()) return;
  const [left, right] = current();
  session.trials.push({
    position: position(),
    left: token(left),
    right: token(right),
    answer: given,
    first: trial.undone ?? given,
    seconds: Math.round(performance.now() - trial.from) / 1000,
    switches: trial.switches,
    ratio: window.devicePixelRatio,
    scale: window.visualViewport?.scale ?? 1,
  });
  trial.undone = null;
  keep();
  if (position() <= TRAINING) feedback(given);
  else goOn();
}

function feedback(given) {
  const right = data.training[session.order][position() - 1];
  const what = { left: "A is closer", right: "B is closer", same: "the two are the same picture" };
  $("question").textContent =
    given === right
      ? `Right: ${what[right]}.`
      : `Look once more: ${what[right]}. ` +
        (right === "same" ? "“Can’t tell” is a good answer." : "Switch to and fro to see it.");
  trial.feedback = true;
  label();
  $("next").focus();
}

/** The trial after an answer; or a break, or the end. */
async function goOn() {
  const at = position(),
    counted = at - data.counted,
    total = order().length;
  const rest = at === total || (counted > 0 && counted % data.pause === 0);
  if (rest) {
    trial.ready = false;
    label();
    session.resting = at;
    if (at === total) session.finished = new Date().toISOString();
    await handIn(at);
  }
  keep();
  if (at === total) end();
  else if (rest) pause();
  else if (at === TRAINING) afterTraining();
  else begin();
}

function undo() {
  if (!mayUndo()) return;
  const last = session.trials.pop();
  trial.undone = last.first;
  session.next = { position: position(), pair: [last.left, last.right].map(numberOf) };
  keep();
  begin();
}

for (const button of $("views").children)
  button.addEventListener("click", () => show(button.dataset.view));
for (const button of $("answers").children)
  button.addEventListener("click", () => answer(button.dataset.answer));
$("next").addEventListener("click", goOn);
$("undo").addEventListener("click", undo);

const STEP = 64; // pixels of the screen that a key moves the picture by
const KEYS = {
  ArrowLeft: () => show("left"),
  ArrowRight: () => show("right"),
  ArrowUp: () => show("original"),
  ArrowDown: () => show("original"),
  a: () => show("left"),
  b: () => show("right"),
  o: () => show("original"),
  1: () => answer("left"),
  2: () => answer("same"),
  3: () => answer("right"),
  Backspace: undo,
};
const PANS = {
  ArrowLeft: [STEP, 0],
  ArrowRight: [-STEP, 0],
  ArrowUp: [0, STEP],
  ArrowDown: [0, -STEP],
};
document.addEventListener("keydown", (event) => {
  if ($("trial").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.shiftKey && PANS[event.key]) pan(...PANS[event.key]);
  else if (KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key])
    KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]();
  else return;
  event.preventDefault();
});
