// Keeps the end of a serial line's log current while "Follow" is ticked and the page is seen.

(() => {
  const SECONDS = 2;
  const log = document.getElementById("log"), follow = document.getElementById("follow"), state = document.getElementById("log-state");
  if (!log) return;

  function atEnd() { log.scrollTop = log.scrollHeight; }

  async function look() {
    if (!follow.checked || document.visibilityState !== "visible") return;
    try {
      const response = await fetch(log.dataset.url, { redirect: "manual" });
      if (!response.ok) throw new Error();
      const text = await response.text();
      if (text !== log.textContent) { log.textContent = text; atEnd(); }
      state.textContent = text ? "" : "The guest has not written anything yet.";
    } catch {
      state.textContent = "The panel does not answer, or you are signed out.";
    }
  }

  atEnd();
  follow.addEventListener("change", look);
  // Who reads further up is not pulled away.
  log.addEventListener("scroll", () => {
    if (log.scrollHeight - log.scrollTop - log.clientHeight > 60) follow.checked = false;
  });
  setInterval(look, SECONDS * 1000);
})();
