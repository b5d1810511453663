// Bringing VMs in: a size only where an empty disk is made; uploads with their progress.
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
})();
