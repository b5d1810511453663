// The seconds that are left to confirm a change of the host, counted down between the server's own answers.
(() => {
  const ends = new WeakMap();
  const tick = () => {
    document.querySelectorAll("[data-countdown]").forEach((element) => {
      if (!ends.has(element)) ends.set(element, performance.now() + 1000 * Number(element.dataset.countdown));
      element.textContent = Math.max(0, Math.round((ends.get(element) - performance.now()) / 1000));
    });
  };
  setInterval(tick, 500);
})();
