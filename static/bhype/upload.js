// Sending files in pieces (tus): each can be paused, goes on after a lost connection, and after the page was loaded
// anew when the same file is chosen again.
(() => {
  const PIECE = 8 * 1024 * 1024;
  const FACTS = ["os", "version", "firmware", "cloud_init", "login", "notes"];
  const RETRIES = [0, 1000, 2000, 5000, 10000, 20000, 30000];
  const { human } = window.bhype;
  const clock = (seconds) => {
    if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
  };
  const token = () => document.querySelector("[name=csrfmiddlewaretoken]")?.value ?? "";
  const said = (error) => {
    try { return JSON.parse(error.originalResponse.getBody()); } catch { return {}; }
  };
  const again = (error) => {
    const status = error.originalResponse?.getStatus() ?? 0;
    if (said(error).code === "conflict") return false;
    return status === 0 || [409, 423, 460].includes(status) || status >= 500;
  };

  const sending = new Set();
  const isBusy = (area) => area.querySelector("[data-pause]:not([hidden]), [data-resume]:not([hidden])");
  window.addEventListener("beforeunload", (event) => {
    if (sending.size) event.preventDefault();
  });

  const row = (area, name) => {
    const item = area.querySelector("template").content.firstElementChild.cloneNode(true);
    item.querySelector("[data-name]").textContent = name;
    area.querySelector("[data-list]").append(item);
    return item;
  };

  const send = (area, file) => {
    const item = row(area, file.name);
    const part = (name) => item.querySelector(`[data-${name}]`);
    const tell = (text, bad = false) => {
      part("told").textContent = text;
      part("told").classList.toggle("text-danger", bad);
    };
    const bar = (share) => {
      const percent = Math.round(100 * share);
      part("bar").firstElementChild.style.width = `${percent}%`;
      part("bar").setAttribute("aria-valuenow", percent);
    };
    if (file.size > Number(area.dataset.limit)) { tell("This file is too large.", true); return; }
    if (!file.size) { tell("This file is empty.", true); return; }
    const form = area.dataset.form ? document.querySelector(area.dataset.form) : null;
    const metadata = { filename: file.name, purpose: area.dataset.purpose };
    if (form) {
      const values = new FormData(form);
      const facts = Object.fromEntries(FACTS.filter((key) => values.has(key)).map((key) => [key, values.get(key)]));
      // They travel in a header.
      if (JSON.stringify(facts).length > 3000) { tell("The notes are too long to go along: add them later.", true); return; }
      metadata.facts = JSON.stringify(facts);
      if (values.get("name")) metadata.name = values.get("name");
      const digest = (values.get("checksum") ?? "").trim();
      if (/^[0-9a-f]{64}$/i.test(digest)) metadata.sha256 = digest;
    }
    let began = performance.now();
    let first = null;
    const upload = new tus.Upload(file, {
      endpoint: area.dataset.url,
      chunkSize: PIECE,
      retryDelays: RETRIES,
      metadata,
      removeFingerprintOnSuccess: true,
      headers: { "X-CSRFToken": token() },
      fingerprint: () => Promise.resolve(
        ["bhype", area.dataset.user, area.dataset.purpose, file.name, file.size, file.lastModified].join("|")),
      onShouldRetry: (error) => {
        if (!again(error)) return false;
        tell(said(error).message ?? "The connection was lost. Trying again…");
        return true;
      },
      onProgress: (sent, total) => {
        if (first === null) { first = sent; began = performance.now(); }
        const speed = (sent - first) / Math.max(0.5, (performance.now() - began) / 1000);
        const left = speed > 0 ? `, ${clock((total - sent) / speed)} left` : "";
        bar(sent / total);
        tell(`${human(sent)} of ${human(total)}, ${human(speed)}/s${left}`);
      },
      onSuccess: () => {
        bar(1);
        tell("Arrived.");
        part("pause").hidden = part("resume").hidden = part("end").hidden = true;
        sending.delete(upload);
        area.dispatchEvent(new CustomEvent("arrived", { bubbles: true }));
        // Leaving the page would cut off what is still on its way.
        if (!isBusy(area) && area.dataset.purpose === "file") window.location.reload();
        else if (!isBusy(area) && area.dataset.after) window.location.assign(area.dataset.after);
        else setTimeout(() => item.remove(), 4000);
      },
      onError: (error) => {
        tell(said(error).message ?? "The connection was lost.", true);
        stopped(true);
      },
    });
    const stopped = (is) => {
      sending[is ? "delete" : "add"](upload);
      part("pause").hidden = is;
      part("resume").hidden = !is;
      first = null;
    };
    part("pause").addEventListener("click", () => {
      upload.abort();
      stopped(true);
      tell("Paused.");
      part("resume").focus();
    });
    part("resume").addEventListener("click", () => {
      stopped(false);
      upload.options.headers["X-CSRFToken"] = token();
      upload.start();
      part("pause").focus();
    });
    part("end").addEventListener("click", () => {
      sending.delete(upload);
      upload.abort(true).catch(() => undefined).finally(() => item.remove());
    });
    upload.findPreviousUploads().then((found) => {
      if (found.length) upload.resumeFromPreviousUpload(found[0]);
      tell(found.length ? "Going on…" : "Beginning…");
      sending.add(upload);
      upload.start();
    });
  };

  const ready = (area) => {
    const input = area.querySelector("input[type=file]");
    input.addEventListener("change", () => {
      [...input.files].forEach((file) => send(area, file));
      input.value = "";
    });
    const drop = area.querySelector(".drop");
    ["dragenter", "dragover"].forEach((kind) => drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    }));
    ["dragleave", "drop"].forEach((kind) => drop.addEventListener(kind, () => drop.classList.remove("over")));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      [...event.dataTransfer.files].forEach((file) => send(area, file));
    });
  };
  document.querySelectorAll("[data-upload]").forEach(ready);

  // What was begun and is not sent now: given up by its address.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-upload-end]");
    if (!button) return;
    const headers = { "Tus-Resumable": "1.0.0", "X-CSRFToken": token() };
    fetch(button.dataset.uploadEnd, { method: "DELETE", headers })
      .then(() => button.closest("[data-unfinished]")?.remove());
  });
})();
