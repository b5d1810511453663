// What every page does: search, keys, menus, dialogs, toasts, and care for forms. No inline scripts anywhere.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const svgUse = $("svg.icon use");
  const sprite = svgUse ? svgUse.getAttribute("href").split("#")[0] : "/static/bhype/icons.svg";
  const icon = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `${sprite}#${name}`);
    svg.append(use);
    return svg;
  };

  // --- Dialogs: focus goes back to what opened them; a click beside them closes them. ---
  const focusAgain = (opener) => {
    // The entry of a menu is hidden by now: what has opened the menu is there.
    const menu = opener.closest("#menu, details.menu");
    const button = !menu ? opener : menu.id ? menuButton() : $("summary", menu);
    if (button?.isConnected) button.focus({ preventScroll: true });
  };
  const openDialog = (dialog, opener = document.activeElement) => {
    if (!dialog || dialog.open) return;
    dialog.addEventListener("close", () => opener && focusAgain(opener), { once: true });
    dialog.showModal();
  };
  document.addEventListener("click", (event) => {
    const dialog = event.target;
    if (dialog instanceof HTMLDialogElement && dialog.id !== "confirm-dialog") {
      const box = dialog.getBoundingClientRect();
      const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
      if (!inside) dialog.close();
    }
    const opener = event.target.closest("[data-open]");
    if (opener) {
      event.preventDefault();
      opener.dataset.open === "search-dialog" ? openSearch() : openDialog(document.getElementById(opener.dataset.open), opener);
    }
    const closer = event.target.closest("[data-close]");
    if (closer) closer.closest("dialog")?.close();
    const drawer = event.target.closest("[data-drawer]");
    if (drawer) openDialog(document.getElementById(drawer.dataset.drawer), drawer);
  });

  // What cannot be done now stays in its place and says why, also to fingers and screen readers.
  document.addEventListener("click", (event) => {
    const off = event.target.closest('[aria-disabled="true"]');
    if (!off) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (off.title) toast({ text: off.title, level: "info" });
  }, true);

  // A question in the page's own dialog, instead of the browser's. Resolves to true or false.
  const ask = (text, label = "Continue", danger = false) =>
    new Promise((resolve) => {
      const dialog = $("#confirm-dialog");
      if (!dialog) return resolve(window.confirm(text));
      $("#confirm-text").textContent = text;
      const yes = $("#confirm-yes");
      yes.textContent = label;
      yes.className = danger ? "btn btn-danger" : "btn btn-primary";
      dialog.returnValue = "no";
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
      openDialog(dialog);
    });
  document.addEventListener("htmx:confirm", (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    const element = event.detail.elt;
    ask(event.detail.question, element.dataset.confirmLabel, "danger" in element.dataset).then((yes) => yes && event.detail.issueRequest(true));
  });

  // --- Forms: no double submit, no lost changes. ---
  const digest = (form) => new URLSearchParams([...new FormData(form)].filter(([, value]) => typeof value === "string")).toString();
  const guarded = new Map();
  const guard = (root) => $$("form[data-guard]", root).forEach((form) => guarded.has(form) || guarded.set(form, digest(form)));
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const button = event.submitter;
    if (form.method === "dialog" || event.defaultPrevented) return;
    const question = button?.dataset.confirm || form.dataset.confirm;
    if (question && !form.dataset.confirmed) {
      event.preventDefault();
      event.stopImmediatePropagation();
      if (await ask(question, button?.dataset.confirmLabel, "danger" in (button?.dataset || {}))) {
        form.dataset.confirmed = "1";
        form.requestSubmit(button);
      }
      return;
    }
    delete form.dataset.confirmed;
    if (form.method !== "post" || form.matches("[hx-post],[data-hx-post]") || button?.matches("[hx-post]")) return;
    if (form.dataset.sending) return event.preventDefault();
    form.dataset.sending = "1";
    guarded.delete(form);
    // Later, so that the pressed button's name and value are still sent.
    setTimeout(() => $$("button:not([type=button]), input[type=submit]", form).forEach((b) => { b.disabled = true; b.classList.add("is-busy"); }));
  }, true); // before htmx, which must wait for the answer too
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  addEventListener("beforeunload", (event) => {
    for (const [form, before] of guarded) {
      if (form.isConnected && digest(form) !== before) {
        event.preventDefault();
        return;
      }
    }
  });

  // --- Menus made of <details>, and popovers placed under their buttons. ---
  document.addEventListener("click", (event) => {
    $$("details.menu[open]").forEach((menu) => menu.contains(event.target) && !event.target.closest(".dropdown-item") || menu.removeAttribute("open"));
  });
  document.addEventListener("focusin", (event) => {
    $$("details.menu[open]").forEach((menu) => menu.contains(event.target) || menu.removeAttribute("open"));
  });
  const place = (popover, button) => {
    const box = button.getBoundingClientRect();
    const width = popover.offsetWidth, height = popover.offsetHeight;
    const below = box.bottom + 4 + height <= innerHeight || box.top < height;
    popover.style.left = `${Math.max(8, Math.min(box.right - width, innerWidth - width - 8))}px`;
    popover.style.top = below ? `${box.bottom + 4}px` : `${box.top - height - 4}px`;
  };
  // One popover for all row menus: filled by htmx, opened when it has arrived. Its row may have been fetched anew by then.
  let menuOf = null;
  const menuButton = () => menuOf && $(`[data-menu][href="${CSS.escape(menuOf)}"]`);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-menu]");
    if (!button) return;
    event.preventDefault();
    menuOf = button.getAttribute("href");
    const { pathname, search } = new URL(button.href);
    const url = `${pathname}menu/${search}`;
    window.htmx.ajax("GET", url, { source: button, target: "#menu", swap: "innerHTML" });
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const popover = event.target;
    const button = popover.id === "menu" && menuButton();
    if (!button) return;
    popover.showPopover();
    place(popover, button);
    $("button:not(:disabled),a", popover)?.focus({ preventScroll: true });
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.id !== "menu" || event.newState !== "closed") return;
    // Who has clicked or gone elsewhere stays there.
    const at = document.activeElement;
    if (at === document.body || event.target.contains(at)) menuButton()?.focus({ preventScroll: true });
  }, true);
  document.addEventListener("click", (event) => {
    const popover = event.target.closest("#menu");
    if (popover && event.target.closest("button,a")) popover.hidePopover();
  });
  // Arrows go through the entries of a menu.
  document.addEventListener("keydown", (event) => {
    const menu = event.target.closest("#menu, details.menu[open]");
    if (!menu || event.target.closest("input, select, textarea")) return;
    const entries = $$(".dropdown-item:not(:disabled)", menu);
    const at = entries.indexOf(document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at < 0 ? -1 : at - 1, Home: 0, End: -1 }[event.key];
    if (next === undefined || !entries.length) return;
    event.preventDefault();
    entries.at(next % entries.length).focus();
  });
  addEventListener("scroll", () => $("#menu:popover-open")?.hidePopover(), { passive: true, capture: true });

  // --- Toasts ---
  const toast = ({ text, level = "success", href = "", label = "" }) => {
    const list = $("#toasts");
    if (!list || !text) return;
    const kinds = { success: "circle-check", info: "info-circle", warning: "alert-triangle", error: "alert-circle" };
    const item = document.createElement("div");
    item.className = `toast-item toast-${level in kinds ? level : "info"}`;
    if (level === "error") item.setAttribute("role", "alert");
    const words = document.createElement("div");
    words.className = "toast-text";
    words.textContent = text;
    item.append(icon(kinds[level] || "info-circle"), words);
    if (href) {
      const link = document.createElement("a");
      link.href = href;
      link.textContent = label || "Show";
      item.append(link);
    }
    const close = document.createElement("button");
    close.type = "button";
    close.className = "toast-close";
    close.setAttribute("aria-label", "Close");
    close.append(icon("x"));
    close.addEventListener("click", () => item.remove());
    item.append(close);
    list.append(item);
    while (list.children.length > 4) list.firstElementChild.remove();
    const leave = () => setTimeout(() => (item.matches(":hover, :focus-within") ? leave() : item.remove()), level === "error" ? 15000 : 6000);
    leave();
  };
  document.addEventListener("toast", (event) => toast(event.detail));
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr, elt } = event.detail;
    // What was deleted meanwhile leaves the list; its own page is loaded anew, and says so.
    if (xhr.status === 404 && elt.matches("tr[data-live]")) return elt.remove();
    if (xhr.status === 404 && elt.matches("[data-gone]")) return location.reload();
    if (xhr.status === 401 || (xhr.status === 404 && elt.matches("[data-quiet]"))) return;
    const words = { 403: "This page is out of date: reload it and try again.", 404: "It is not there any more.", 429: "Too many requests: wait a moment." };
    toast({ text: words[xhr.status] || `The panel could not do that (error ${xhr.status}).`, level: "error" });
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (event.detail.requestConfig?.verb !== "get") toast({ text: "The panel does not answer. Nothing was changed.", level: "error" });
  });

  // --- Fragments that are fetched anew leave the person where they are: focus is kept, open menus stay, and what
  // was unfolded stays so: <details> with an id. ---
  const FOCUSABLE = "a, button, input, select, textarea, summary";
  let focusAt = null;
  let folds = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, requestConfig } = event.detail;
    if (requestConfig?.triggeringEvent?.type === "live" && $("details.menu[open]", target)) event.detail.shouldSwap = false;
    folds = $$("details[id]", target).map((one) => [one.id, one.open]);
    const at = target.id ? $$(FOCUSABLE, target).indexOf(document.activeElement) : -1;
    focusAt = at < 0 ? null : { id: target.id, at };
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const [id, open] of folds.splice(0)) {
      const part = document.getElementById(id);
      if (part) part.open = open;
    }
    if (!focusAt || (document.activeElement && document.activeElement !== document.body)) return;
    const part = document.getElementById(focusAt.id);
    if (part) $$(FOCUSABLE, part)[focusAt.at]?.focus({ preventScroll: true });
    focusAt = null;
  });

  // --- Search ---
  const searchDialog = $("#search-dialog");
  // What the hits are for; and whether somebody waits for the first of them.
  let found = null;
  let awaited = false;
  const openSearch = () => {
    openDialog(searchDialog);
    const input = $("input", searchDialog);
    input.select();
    window.htmx?.trigger(input, "open");
  };
  searchDialog?.addEventListener("keydown", (event) => {
    const hits = $$(".hit", searchDialog);
    const at = hits.indexOf(document.activeElement);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = event.key === "ArrowDown" ? at + 1 : at - 1;
      next < 0 ? $("input", searchDialog).focus() : hits[Math.min(next, hits.length - 1)]?.focus();
    } else if (event.key === "Enter" && at < 0 && found !== $("input", searchDialog).value) {
      // Faster than the answer: the first of what is found is gone to as soon as it is there.
      event.preventDefault();
      awaited = true;
    } else if (event.key === "Enter" && at < 0 && hits.length) {
      event.preventDefault();
      hits[0].click();
    } else if (event.key === "Escape") {
      // The browser's own would only empty the field.
      event.preventDefault();
      searchDialog.close();
    }
  });
  searchDialog?.addEventListener("input", () => (awaited = false));
  searchDialog?.addEventListener("close", () => (awaited = false));
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id !== "hits") return;
    found = event.detail.requestConfig.parameters.q;
    if (awaited && found === $("input", searchDialog).value) $(".hit", searchDialog)?.click();
  });

  // --- Keys ---
  let prefix = 0;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && searchDialog) {
      event.preventDefault();
      return openSearch();
    }
    if (event.key === "Escape") {
      const menu = $("details.menu[open]");
      if (menu) {
        menu.removeAttribute("open");
        $("summary", menu).focus();
      }
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog[open], .xterm, canvas")) return;
    const now = Date.now();
    if (event.key === "/" && searchDialog) {
      event.preventDefault();
      openSearch();
    } else if (event.key === "?") {
      openDialog($("#keys-dialog"));
    } else if (event.key === "g") {
      prefix = now;
      return;
    } else if (now - prefix < 1200) {
      $(`.side-link[data-key="${CSS.escape(event.key)}"]`)?.click();
    } else if (event.key === "c") {
      $("[data-key-new]")?.click();
    }
    prefix = 0;
  });

  // --- Theme ---
  const themeSwitch = $("#theme-switch");
  const nameTheme = () => themeSwitch && (themeSwitch.title = `Theme: ${window.bhypeTheme.get()}`) && themeSwitch.setAttribute("aria-label", `Theme: ${window.bhypeTheme.get()}`);
  themeSwitch?.addEventListener("click", () => {
    const { modes, get, set } = window.bhypeTheme;
    set(modes[(modes.indexOf(get()) + 1) % modes.length]);
    nameTheme();
  });
  nameTheme();

  // --- Copy buttons: data-copy is a selector, or data-copy-text the text itself. ---
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy],[data-copy-text]");
    if (!button) return;
    const source = button.dataset.copy && $(button.dataset.copy);
    const text = button.dataset.copyText ?? (source ? source.value ?? source.textContent : "");
    try {
      await navigator.clipboard.writeText(text.trim());
    } catch {
      // Without TLS there is no clipboard API beyond localhost.
      const area = document.createElement("textarea");
      area.value = text.trim();
      (button.closest("dialog") || document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
    toast({ text: "Copied", level: "info" });
  });

  // --- Times that stay true: <time> with a title says how far off it is, any other is a stamp. ---
  const units = [[31536000, "year"], [2592000, "month"], [604800, "week"], [86400, "day"], [3600, "hour"], [60, "minute"]];
  const since = (stamp) => {
    const seconds = (Date.now() - new Date(stamp)) / 1000;
    for (const [size, name] of units) {
      const count = Math.floor(Math.abs(seconds) / size);
      const words = `${count} ${name}${count > 1 ? "s" : ""}`;
      if (count >= 1) return seconds < 0 ? `in ${words}` : `${words} ago`;
    }
    return "just now";
  };
  setInterval(() => $$("time[title]").forEach((time) => (time.textContent = since(time.dateTime))), 30000);

  // A table wider than its place can be scrolled by keys.
  const reachable = (root) => $$(".table-responsive", root).forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
  document.addEventListener("htmx:load", (event) => {
    guard(event.target);
    reachable(event.target);
  });
  guard(document);
  reachable(document);
  // On a narrow screen the tabs scroll: the one of this page is in sight.
  $$(".tabs .active").forEach((tab) => (tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - (tab.parentElement.clientWidth - tab.offsetWidth) / 2));
  $$("form .is-invalid")[0]?.focus();

  // --- What a form will do, told while it is filled in ---
  const SIZE = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$/i;
  const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
  const bytes = (text) => {
    const match = SIZE.exec(text || "");
    return match ? Math.round(match[1] * 1024 ** " kmgt".indexOf(match[2].toLowerCase() || " ")) : null;
  };
  const human = (size) => {
    let at = 0;
    for (; Math.abs(size) >= 1024 && at < UNITS.length - 1; at += 1) size /= 1024;
    return `${Math.round(size * 10) / 10} ${UNITS[at]}`;
  };
  const term = (name, text) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = name;
    dd.textContent = text;
    return [dt, dd];
  };
  const curl = (place, body) => {
    const json = JSON.stringify(body).replaceAll("'", "'\\''");
    place.textContent = `curl -X POST '${place.dataset.url}' -H "Authorization: Bearer $BHYPE_TOKEN" -H 'Content-Type: application/json' -d '${json}'`;
  };

  window.bhype = { toast, ask, icon, openDialog, bytes, human, term, curl };
})();
