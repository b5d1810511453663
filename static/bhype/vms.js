// The list of VMs: selection that survives swaps, and the bulk bar. The create form: summary and API call.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- Selection ---
  const chosen = new Set();
  let last = null;
  const boxes = () => $$('#bulk input[name="vm"]');
  // The question before a hard action says how many and which.
  const phrase = (bar, count) => {
    const some = boxes().filter((box) => box.checked).slice(0, 5).map((box) => box.closest("tr").querySelector(".vm-name").textContent);
    const which = some.join(", ") + (count > some.length ? ` and ${count - some.length} more` : "");
    $$("[data-confirm]", bar).forEach((button) => {
      button.dataset.confirm = `${button.textContent.trim()} ${which}? It happens at once, and unsaved data in the guest is lost.`;
    });
  };
  const showBar = () => {
    const bar = $("#bulk-bar");
    if (!bar) return;
    const all = $("#bulk-all");
    const here = boxes().filter((box) => box.checked).length;
    bar.hidden = here === 0;
    if (!here && all) all.checked = false;
    $("#bulk-count").textContent = all?.checked ? all.dataset.total : here;
    phrase(bar, all?.checked ? Number(all.dataset.total) : here);
    const head = $("#check-all");
    head.checked = here > 0 && here === boxes().length;
    head.indeterminate = here > 0 && !head.checked;
  };
  const mark = (box, on) => {
    box.checked = on;
    on ? chosen.add(box.value) : chosen.delete(box.value);
  };
  document.addEventListener("click", (event) => {
    const box = event.target.closest('#bulk input[name="vm"]');
    if (box) {
      const list = boxes();
      mark(box, box.checked);
      if (event.shiftKey && last && list.includes(last)) {
        const [from, to] = [list.indexOf(last), list.indexOf(box)].sort((a, b) => a - b);
        list.slice(from, to + 1).forEach((one) => mark(one, box.checked));
      }
      last = box;
      showBar();
    } else if (event.target.id === "check-all") {
      boxes().forEach((one) => mark(one, event.target.checked));
      showBar();
    } else if (event.target.id === "bulk-all") {
      showBar();
    } else if (event.target.closest("#bulk-none")) {
      boxes().forEach((one) => mark(one, false));
      showBar();
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id === "result") window.bhype.openDialog($("#result-dialog"));
    else if ($("#bulk")) {
      const there = new Set(boxes().map((box) => box.value));
      [...chosen].forEach((value) => there.has(value) || chosen.delete(value));
      boxes().forEach((box) => (box.checked = chosen.has(box.value)));
      showBar();
    }
  });
  // Addresses without what filters nothing.
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.target.id !== "filters") return;
    const { parameters } = event.detail;
    for (const key of ["q", "state", "tag", "owner", "host", "mark"]) if (!parameters[key]) delete parameters[key];
    if (parameters.sort === "name") delete parameters.sort;
  });
  // The chip that was pressed is the state that the filter form keeps.
  document.addEventListener("click", (event) => {
    const chip = event.target.closest("[data-state]");
    const input = $('#filters input[name="state"]');
    if (chip && input) input.value = chip.dataset.state;
  });

  // --- The create form ---
  const form = $("#vm-form");
  if (!form) return;
  const { bytes, human, term, curl } = window.bhype;
  const value = (name) => form.elements[name]?.value?.trim?.() ?? "";
  const words = (name) => {
    const select = form.elements[name];
    return select?.value ? select.selectedOptions[0].textContent.trim() : "none";
  };
  const disks = () => $$('input[name="disk_size"]', form).map((input) => input.value.trim()).filter((text) => text && bytes(text) !== 0);
  const show = () => {
    const sizes = disks();
    const size = (text) => (bytes(text) === null ? text : human(bytes(text)));
    $("#summary").replaceChildren(
      ...term("Name", value("name") || "…"),
      ...term("Medium", words("iso")),
      ...term("CPUs", value("cpus")),
      ...term("Memory", size(value("memory"))),
      ...term(sizes.length > 1 ? "Disks" : "Disk", sizes.map(size).join(" + ") || "none"),
      ...term("Switch", words("switch")),
      ...term("Then", form.elements.start?.checked ? "start it" : "leave it off"),
    );
    const left = $("#left");
    if (left) {
      const memory = left.dataset.memoryLeft - (bytes(value("memory")) || 0);
      const disk = left.dataset.diskLeft - sizes.reduce((sum, text) => sum + (bytes(text) || 0), 0);
      const line = (name, rest) => {
        const div = document.createElement("div");
        div.textContent = rest < 0 ? `${name}: ${human(-rest)} too much` : `${name}: ${human(rest)} left after it`;
        if (rest < 0) div.className = "over";
        return div;
      };
      left.replaceChildren(line("Memory", memory), line("Pool", disk));
    }
    const body = { name: value("name"), cpus: Number(value("cpus")) || 1, memory: value("memory"), disks: sizes.map((text) => ({ size: text })) };
    if (form.elements.iso?.value) body.iso = words("iso");
    if (form.elements.switch?.value) body.switch = words("switch");
    if (form.elements.preset?.value) body.preset = form.elements.preset.value;
    if (form.elements.start) body.start = form.elements.start.checked;
    curl($("#api-call"), body);
  };
  // Another operating system brings the fields anew.
  document.addEventListener("htmx:afterSettle", () => $("#summary") && show());
  form.addEventListener("click", (event) => {
    if (!event.target.closest("#add-disk")) return;
    const line = document.createElement("div");
    line.className = "extra-disk";
    const input = document.createElement("input");
    Object.assign(input, { name: "disk_size", className: "form-control", placeholder: "such as 100G", maxLength: 20 });
    input.setAttribute("aria-label", "Size of a further disk");
    const remove = document.createElement("button");
    Object.assign(remove, { type: "button", className: "btn btn-icon" });
    remove.setAttribute("aria-label", "Remove this disk");
    remove.append(window.bhype.icon("x"));
    remove.addEventListener("click", () => {
      line.remove();
      show();
    });
    line.append(input, remove);
    $("#more-disks").append(line);
    input.focus();
  });
  form.addEventListener("input", show);
  form.addEventListener("change", show);
  const errorInside = $(".advanced .is-invalid");
  if (errorInside) errorInside.closest("details").open = true;
  const name = form.elements.name;
  if (name && !$(".is-invalid", form)) name.select();
  show();
})();
