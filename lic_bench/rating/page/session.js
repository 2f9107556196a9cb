// What a rater has done so far. It is kept in this browser after every answer, and survives a reload.
const KEY = `lic-bench:${data.study}`;
const SERVED = location.protocol !== "file:";
let session = null;

function newSession() {
  return {
    format: "lic-bench answers 1",
    study: data.study,
    session: random(16),
    order: parseInt(random(4), 16) % data.orders.length,
    rater: "",
    consent: "",
    started: new Date().toISOString(),
    finished: "",
    about: {},
    remark: "",
    trials: [],
    resting: 0,
    next: null,
  };
}

/** Keep the session; say whether that was possible. */
function keep() {
  try {
    localStorage.setItem(KEY, JSON.stringify(session));
    return true;
  } catch {
    return false;
  }
}

function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY));
    return found && found.study === data.study ? found : null;
  } catch {
    return null;
  }
}

const order = () => data.orders[session.order];
const token = (picture) => data.pictures[picture][0];
const numberOf = (name) => data.pictures.findIndex(([known]) => known === name);

/** The answers as they are handed in. */
function answers() {
  const { resting: _resting, next: _next, ...handed } = session;
  return handed;
}

function fileName() {
  const name = session.rater.replace(/[^\w-]+/g, "_").slice(0, 40) || "rater";
  return `answers-${name}-${session.session.slice(0, 6)}.json`;
}

function saveFile() {
  const text = JSON.stringify(answers(), null, 1) + "\n";
  const link = html("a", {
    href: URL.createObjectURL(new Blob([text], { type: "application/json" })),
    download: fileName(),
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Where the page is served, answers go to the server, but for the last one, which can be taken back;
// and the server may say what is asked next.
const server = { problem: "" };

async function handIn(trials) {
  if (!SERVED) return;
  const at = session.trials.length;
  const pending = session.trials
    .slice(trials)
    .flatMap((one) => [one.left, one.right].map((name) => `&pending=${numberOf(name)}`));
  try {
    const reply = await fetch(`answers?position=${at}${pending.join("")}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...answers(), trials: session.trials.slice(0, trials) }),
    });
    if (!reply.ok) throw new Error(await reply.text());
    const { next } = await reply.json();
    session.next = { position: at, pair: next || order()[at] };
    server.problem = "";
  } catch (error) {
    server.problem = String(error.message || error);
  }
}
