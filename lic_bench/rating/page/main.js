// The beginning: a new session, or one that was broken off.
function start() {
  session = kept();
  if (session && session.trials.length === order().length) end();
  else if (session && session.trials.length > 0) comeBack();
  else {
    session = newSession();
    welcome();
  }
  if (!keep())
    $("screen").prepend(
      paragraph(
        "This browser keeps nothing for pages like this one: do not close or reload it before you " +
          "have saved your answers.",
        { role: "alert" },
      ),
    );
}
// The pictures stand behind this script.
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
