// Bringing VMs in: a size only where an empty disk is made.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  const show = (choice) => {
    const size = $(`#id_size_${choice.name.slice(5)}`);
    if (size) size.hidden = choice.value !== "empty";
  };
  $$('select[name^="disk_"]').forEach((choice) => {
    show(choice);
    choice.addEventListener("change", () => show(choice));
  });

  // What comes along with a dataset that moves needs no choice.
  const along = () => {
    const moves = $('input[name="how"]:checked')?.value === "move";
    $$("[data-comes-along]").forEach((part) => { part.hidden = moves; });
    $$("[data-with-move]").forEach((part) => { part.hidden = !moves; });
  };
  $$('input[name="how"]').forEach((choice) => choice.addEventListener("change", along));
  along();
})();
