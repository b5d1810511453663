// The log of one task: on each "live" event only its new lines are fetched and appended.
(() => {
  const log = document.getElementById("task-log");
  if (!log) return;
  let busy = false;
  let again = false;
  const atEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 80;

  const fetchNew = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      do {
        again = false;
        const last = log.lastElementChild ? log.lastElementChild.dataset.id : 0;
        const response = await fetch(`${log.dataset.url}?after=${last}`, { headers: { "HX-Request": "true" } });
        if (!response.ok) break;
        const html = (await response.text()).trim();
        if (!html) break;
        const follow = atEnd();
        log.insertAdjacentHTML("beforeend", html);
        if (follow) scrollTo({ top: document.documentElement.scrollHeight });
        // There may be more than one answer holds.
        again = true;
      } while (again);
    } catch (error) {
      // Away for a moment; the next event tries again.
    } finally {
      busy = false;
    }
  };
  log.addEventListener("live", fetchNew);

  const commands = document.getElementById("task-log-commands");
  const show = () => log.classList.toggle("no-commands", !commands.checked);
  commands.addEventListener("change", show);
  show();
})();
