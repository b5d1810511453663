// Ticked rows of a form: how many there are, all at once, and the same ones after the list was fetched anew.
(() => {
  const chosen = new Set();
  const boxes = (form) => [...form.querySelectorAll('input[name="snapshot"][type="checkbox"]')];
  const show = (form) => {
    const all = boxes(form);
    const count = all.filter((box) => box.checked).length;
    const label = form.querySelector("[data-pick-count]");
    if (label) label.textContent = count;
    const head = form.querySelector("[data-pick-all]");
    if (head) {
      head.checked = count > 0 && count === all.length;
      head.indeterminate = count > 0 && !head.checked;
    }
  };
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-pick]");
    if (!form) return;
    if (event.target.matches("[data-pick-all]")) boxes(form).forEach((box) => (box.checked = event.target.checked));
    boxes(form).forEach((box) => (box.checked ? chosen.add(box.value) : chosen.delete(box.value)));
    show(form);
  });
  const restore = () => document.querySelectorAll("form[data-pick]").forEach((form) => {
    boxes(form).forEach((box) => (box.checked = chosen.has(box.value)));
    show(form);
  });
  document.addEventListener("htmx:afterSwap", restore);
  restore();
})();
