// The form of a deployment: summary, what is left, and the API call.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const { bytes, human, term, curl } = window.bhype;
  // As vms/deploy/names.py has it; what it refuses, the server tells.
  const names = (pattern, count) => {
    const match = /\{(\d{1,6})\.\.(\d{1,6})\}/.exec(pattern);
    if (!match) return count > 1 ? Array.from({ length: count }, (_, n) => `${pattern}${n + 1}`) : [pattern];
    const [first, last] = [Number(match[1]), Number(match[2])];
    const width = match[1].startsWith("0") ? match[1].length : 1;
    const length = Math.min(Math.max(last - first + 1, 1), 1000);
    return Array.from({ length }, (_, n) => pattern.replace(match[0], String(first + n).padStart(width, "0")));
  };
  const show = () => {
    const form = $("#deploy-form");
    if (!form) return;
    const facts = JSON.parse($("#template-facts").content.textContent);
    const value = (name) => form.elements[name]?.value?.trim?.() ?? "";
    const chosen = facts[value("template")] ?? {};
    const list = names(value("name"), Number(value("count")) || 1);
    const size = (name, otherwise) => value(name) || otherwise || "";
    const said = (text) => (bytes(text) === null ? text : human(bytes(text)));
    const memory = size("memory", chosen.memory);
    const network = form.elements.switch.value ? form.elements.switch.selectedOptions[0].textContent.trim() : "none";
    const addressing = form.elements.addressing.selectedOptions[0].textContent.trim().replace(/ *[(].*/, "").replace(/^by /, "");
    if (value("addressing") === "typed") $("#deploy-form .advanced").open = true;
    const start = form.elements.start.checked;
    const lines = [
      ...term(list.length > 1 ? `${list.length} VMs` : "Name", list.length > 2 ? `${list[0]} … ${list.at(-1)}` : list.join(", ") || "…"),
      ...term("Template", form.elements.template.selectedOptions[0]?.textContent.trim() ?? ""),
      ...term("CPUs", size("cpus", chosen.cpus)),
      ...term("Memory", said(memory)),
      ...term("Disk", said(size("disk_size", chosen.disk_size))),
      ...term("Network", network === "none" ? "none" : `${network}, ${value("address") || addressing}`),
    ];
    if (chosen.seed) lines.push(...term("User", value("user") || "as the image has it"));
    lines.push(...term("Then", start ? "start" : "leave off"));
    $("#summary").replaceChildren(...lines);
    const left = $("#left");
    const line = (text, over = false) => {
      const div = document.createElement("div");
      div.textContent = text;
      if (over) div.className = "over";
      return div;
    };
    const hints = [];
    if (Number(left.dataset.memory)) {
      const rest = left.dataset.memoryLeft - (bytes(memory) || 0) * list.length;
      hints.push(line(rest < 0 ? `Memory: ${human(-rest)} too much to run all` : `Memory: ${human(rest)} left when they run`, rest < 0));
    }
    const cpus = Number(left.dataset.cpus);
    if (cpus && Number(size("cpus", chosen.cpus)) > cpus) hints.push(line(`CPUs: the host has ${cpus}`, true));
    hints.push(line(`Pool: ${human(Number(left.dataset.diskLeft))} free; no data is copied`));
    left.replaceChildren(...hints);
    const body = { template: chosen.name, name: value("name"), start };
    if (Number(value("count")) > 1) body.count = Number(value("count"));
    for (const name of ["cpus", "memory", "disk_size", "user", "addressing", "address", "gateway"]) {
      if (value(name)) body[name] = name === "cpus" ? Number(value(name)) : value(name);
    }
    body.switch = form.elements.switch.value ? network : null;
    curl($("#api-call"), body);
  };
  document.addEventListener("input", (event) => event.target.closest("#deploy-form") && show());
  document.addEventListener("change", (event) => event.target.closest("#deploy-form") && show());
  document.addEventListener("htmx:afterSettle", show);
  const open = $("#deploy-form .advanced .is-invalid, #deploy-form .advanced .invalid-feedback");
  if (open) open.closest("details").open = true;
  show();
})();
