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

  // What comes along with a dataset that moves needs no choice.
  const along = () => {
    const moves = $('input[name="how"]:checked')?.value === "move";
    $$("[data-comes-along]").forEach((part) => { part.hidden = moves; });
    $$("[data-with-move]").forEach((part) => { part.hidden = !moves; });
  };
  $$('input[name="how"]').forEach((choice) => choice.addEventListener("change", along));
  along();

  // --- Uploads: one request whose body is the file. ---
  const drop = $("#drop");
  if (!drop) return;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const human = (bytes) => {
    let unit = 0;
    for (; bytes >= 1024 && unit < units.length - 1; unit += 1) bytes /= 1024;
    return `${bytes >= 100 || !unit ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
  };
  const tell = (text) => { $("#upload-told").textContent = text; };
  let request = null;
  const send = (file, tries = 0) => {
    $("#upload").hidden = false;
    $("#upload-stop").hidden = false;
    $("#upload-name").textContent = file.name;
    if (file.size > Number(drop.dataset.limit)) return tell("This file is too large.");
    const began = performance.now();
    request = new XMLHttpRequest();
    request.open("POST", `${drop.dataset.url}?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("X-CSRFToken", $("[name=csrfmiddlewaretoken]").value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => {
      const percent = event.total ? Math.round(100 * event.loaded / event.total) : 0;
      $("#upload-bar span").style.width = `${percent}%`;
      $("#upload-bar").setAttribute("aria-valuenow", percent);
      const rate = event.loaded / Math.max(0.1, (performance.now() - began) / 1000);
      tell(`${percent} % of ${human(event.total)}, ${human(rate)}/s`);
    });
    request.addEventListener("load", () => {
      let said = {};
      try { said = JSON.parse(request.responseText); } catch { /* an error page */ }
      if (request.status === 200) return window.location.reload();
      if (request.status === 409 && said.again && tries < 20) return setTimeout(() => send(file, tries + 1), 1000);
      $("#upload-stop").hidden = true;
      return tell(said.message || "The file was not taken.");
    });
    request.addEventListener("error", () => tell("The connection was lost. Try again."));
    request.addEventListener("abort", () => tell("Cancelled."));
    request.send(file);
    return undefined;
  };
  $("#upload-file").addEventListener("change", (event) => event.target.files[0] && send(event.target.files[0]));
  $("#upload-stop").addEventListener("click", () => request && request.abort());
  ["dragenter", "dragover"].forEach((kind) => drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  }));
  ["dragleave", "drop"].forEach((kind) => drop.addEventListener(kind, () => drop.classList.remove("over")));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  });
})();
