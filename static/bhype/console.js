// The console page: gets a ticket, opens the line, says what goes on, connects again, and works the tool bar.

import { KEYS, LAYOUTS, MODIFIERS, layoutOf } from "./keys.js";
import { ask as askLine, line } from "./line.js";

const page = document.body.dataset;
const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const SIGNED_OUT = 4401, IN_USE = 4409, TOO_MANY = 4429;
const WAITS = [0.5, 1, 2, 4, 8, 15]; // seconds before the next try
const LOOK_SECONDS = 2; // how often to ask whether a guest that is off is on again

const views = { vnc: null, serial: null };
let kind = page.kind;
let view = null;
let socket = null;
let attempt = 0; // rises with every call of connect(): whatever an older one waits for is void
let failures = 0;
let timer = 0;
const watching = () => Boolean($("view-only")?.checked); // by choice: nothing that is typed is sent
let shared = null; // who is on the serial line, as the panel told last

const family = () => (kind === "vnc" ? "vnc" : "serial");

// Words on the page.

function say(message, ...buttons) {
  $("banner").hidden = !message;
  $("message").textContent = message;
  for (const id of ["retry", "take-over", "start", "sign-in", "leave"]) {
    if ($(id)) $(id).hidden = !buttons.includes(id);
  }
  document.body.dataset.connected = message ? "" : "1";
}

function status(text) { $("state").textContent = text; }

let toastTimer = 0;
function toast(text) {
  $("toast").textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").textContent = ""), 6000);
}

// Questions to the panel. A redirect is the way to the sign-in page.

class SignedOut extends Error {}

async function ask(url, fields) {
  const options = { redirect: "manual", headers: { Accept: "application/json" } };
  if (fields) {
    options.method = "POST";
    options.body = new URLSearchParams(fields);
    options.headers["X-CSRFToken"] = document.querySelector("[name=csrfmiddlewaretoken]").value;
  }
  const response = await fetch(url, options);
  if (response.type === "opaqueredirect") throw new SignedOut();
  const body = await response.json().catch(() => ({}));
  return { ok: response.ok, status: response.status, body };
}

// The line.

async function load(wanted) {
  if (wanted === "vnc") return (views.vnc ??= setUpScreen(new (await import("./screen.js")).Screen($("screen"))));
  if (!views.serial) {
    views.serial = new (await import("./serial.js")).Serial($("serial"));
    views.serial.onrefused = refusedKey;
  }
  return views.serial;
}

async function connect(takeOver = false) {
  const mine = ++attempt;
  clearTimeout(timer);
  hangUp();
  say("Connecting…");
  try {
    const [shown, answer] = await Promise.all([
      load(kind), ask(page.ticketUrl, { kind, take_over: takeOver ? "1" : "", watch: watching() ? "1" : "" }),
    ]);
    if (mine !== attempt) return;
    view = shown;
    $("screen").hidden = family() !== "vnc";
    $("serial").hidden = family() !== "serial";
    view.fit();
    if (answer.ok) open(answer.body, mine);
    else refused(answer);
  } catch (error) {
    if (mine !== attempt) return;
    if (error instanceof SignedOut) say("You are signed out.", "sign-in");
    else again("The panel does not answer.");
  }
}

function open(opened, mine) {
  let refusal = "", reached = false;
  const opening = line(opened.path, opened.ticket, view.room?.());
  socket = opening;
  const mayWrite = opened.right === "console";
  document.body.dataset.right = opened.right;
  $("recorded").hidden = !opened.recorded;
  $("only-watch").hidden = mayWrite;
  for (const element of all("[data-writes]")) element.disabled = !mayWrite;
  if (family() === "vnc") view.mayWrite = mayWrite;
  opening.addEventListener("line", ({ detail }) => mine === attempt && share(detail, mayWrite));
  opening.addEventListener("open", () => (reached = true));
  opening.addEventListener("close", (event) => mine === attempt && closed(event, refusal, reached));
  view.attach(opening, opened.password, {
    connected: () => {
      if (mine !== attempt) return;
      failures = 0;
      say("");
      if (page.on !== "1") look();
      page.on = "1";
      view.focus();
    },
    failed: (sentence) => { refusal = sentence; opening.close(); },
  });
}

function hangUp() {
  const old = socket;
  socket = null;
  shared = null;
  document.body.dataset.writes = "";
  $("people").hidden = $("control").hidden = true;
  for (const each of Object.values(views)) each?.detach();
  old?.close();
}

function refused({ status: code, body }) {
  const message = body.message || "The panel refuses the console.";
  if (code === 404) say(body.message || `${page.title} is gone, or closed to you.`, "leave");
  else if (body.code === "off") off(message);
  else if (body.code === "in_use") say(message, body.right === "console" ? "take-over" : "", "retry");
  else if (code === 403) say("This page is too old: load it again.", "sign-in");
  else if (code < 500) say(message, "retry");
  else again(message);
}

function closed(event, refusal, reached) {
  if (refusal) say(refusal, "retry");
  else if (event.code === SIGNED_OUT) say("You are signed out.", "sign-in");
  else if (event.code === IN_USE) say(event.reason, document.body.dataset.right === "watch" ? "retry" : "take-over");
  else if (event.code === TOO_MANY) say(event.reason, "retry");
  else if (!reached && failures >= 3) again("WebSockets do not get through. Is there a proxy that blocks them?");
  else again(event.reason || "The connection was lost.");
}

function again(reason) {
  const seconds = WAITS[Math.min(failures++, WAITS.length - 1)];
  say(seconds >= 1 ? `${reason} Next try in ${seconds} s.` : reason, "retry");
  timer = setTimeout(() => connect(), seconds * 1000);
}

// A serial line that others are on, too.

const clock = (stamp) => new Date(stamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function whoWrites({ writes, writer, since }) {
  if (writes) return "You have control";
  return writer ? `${writer} has had control since ${clock(since)}` : "Nobody has control";
}

function share(told, mayWrite) {
  const before = shared;
  shared = told;
  document.body.dataset.writes = told.writes ? "1" : "";
  const others = told.here.filter((each) => !each.you);
  $("people").hidden = $("control").hidden = !others.length && told.writes;
  $("control-text").textContent = whoWrites(told);
  $("take-control").hidden = told.writes || !mayWrite;
  $("people-count").textContent = `${told.here.length} here`;
  $("people-list").replaceChildren(...told.here.map((each) => {
    const item = document.createElement("li");
    const does = each.writes ? "has control" : each.right === "watch" ? "only watches" : "watches";
    item.textContent = `${each.name}${each.you ? " (you)" : ""} ${does}, since ${clock(each.since)}`;
    return item;
  }));
  if (before?.writes && !told.writes && told.writer) toast(`${told.writer} has taken control. You watch now.`);
  else if (before && !before.writes && told.writes) toast("You have control.");
  else if (before && told.writer && before.since !== told.since && !told.writes) toast(`${told.writer} has control now.`);
}

async function takeControl() {
  if (!shared) return;
  const question = `${whoWrites(shared)}. What ${shared.writer} types will no longer arrive, and everybody is told.`;
  if (shared.writer && !(await confirmed("Take control?", question, "Take control"))) return;
  askLine(socket, { control: true });
  view?.focus();
}

// Said once, not anew with each key while it can still be read.
function refusedKey() {
  let text = shared ? `${whoWrites(shared)}: take it to type.` : "Not connected yet.";
  if (document.body.dataset.right === "watch") text = watching() ? "You only watch: the View menu ends this." : "You may only watch this console.";
  if ($("toast").textContent !== text) toast(text);
}

// A guest that is off: say so, and come back by ourselves when it is on.

async function look() {
  try {
    const { ok, body } = await ask(page.stateUrl);
    if (!ok) return null;
    status(body.state);
    return body;
  } catch (error) {
    if (error instanceof SignedOut) return { signedOut: true };
    return null;
  }
}

function off(message) {
  const mine = attempt;
  page.on = "";
  failures = 0;
  say(message, "start");
  timer = setTimeout(async function wait() {
    const answer = await look();
    if (mine !== attempt) return;
    if (answer?.signedOut) say("You are signed out.", "sign-in");
    else if (answer?.is_on) connect();
    else timer = setTimeout(wait, LOOK_SECONDS * 1000);
  }, LOOK_SECONDS * 1000);
}

setInterval(() => document.visibilityState === "visible" && socket && look(), 10_000);

// Tool bar.

function closeMenus() { for (const menu of all("details[open]")) menu.open = false; }

function show(wanted) {
  kind = wanted;
  failures = 0;
  for (const button of all("[data-show]")) button.setAttribute("aria-pressed", String(button.dataset.show === kind));
  for (const element of all("[data-only]")) element.hidden = element.dataset.only !== family();
  history.replaceState(null, "", `?kind=${kind}${watching() ? "&watch=1" : ""}`);
  connect();
}

function confirmed(title, text, yes) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

const HARD = {
  reset: ["Reset", "It restarts at once, as by its reset button. What the guest has not written is lost."],
  poweroff: ["Power off", "It stops at once, as if the plug were pulled. What the guest has not written is lost."],
};

async function power(action) {
  closeMenus();
  const hard = HARD[action];
  if (hard && !(await confirmed(`${hard[0]} ${page.title}?`, hard[1], `${hard[0]} ${page.title}`))) return view?.focus();
  try {
    const response = await fetch(page.actionUrl, {
      method: "POST",
      redirect: "manual",
      headers: { "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value },
      body: new URLSearchParams({ action }),
    });
    const done = response.ok || response.type === "opaqueredirect";
    toast(done ? `${page.title}: ${action} was asked.` : `${page.title}: ${action} was refused (${response.status}).`);
  } catch {
    toast("The panel does not answer.");
  }
  setTimeout(look, 1000);
  view?.focus();
  return undefined;
}

function keyButton(label, press, hint = "") {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  if (hint) button.setAttribute("aria-label", hint);
  button.addEventListener("click", press);
  return button;
}

function modifierButton(name) {
  const button = keyButton(name, () => { view?.toggle(name); showHeld(); view?.focus(); }, `Hold ${name}`);
  button.dataset.modifier = name;
  button.setAttribute("aria-pressed", "false");
  return button;
}

function showHeld() {
  for (const button of all("[data-modifier]")) {
    button.setAttribute("aria-pressed", String(Boolean(view?.held.has(button.dataset.modifier))));
  }
}

function press(names) { view?.combo(names); showHeld(); }

function fillKeys() {
  const menu = $("keys"), bar = $("key-bar");
  const heading = (text) => Object.assign(document.createElement("p"), { className: "wide", textContent: text });
  menu.append(heading("Hold until the next key"), ...MODIFIERS.map(modifierButton), heading("Press"));
  for (const name of Object.keys(KEYS)) {
    if (!MODIFIERS.includes(name)) menu.append(keyButton(name === "Escape" ? "Esc" : name, () => press(name)));
  }
  const together = heading("Together");
  together.dataset.only = "vnc";
  menu.append(together);
  const combos = ["Ctrl Alt Delete", "Ctrl Alt Backspace", "Alt Tab", "Alt F4"];
  for (let number = 1; number <= 12; number++) combos.push(`Ctrl Alt F${number}`);
  for (const names of combos) {
    const button = keyButton(names.replaceAll(" ", "-"), () => { press(names); closeMenus(); view?.focus(); });
    button.dataset.only = "vnc";
    menu.append(button);
  }
  bar.append(
    keyButton("⌨", () => (family() === "vnc" ? $("touch").focus() : view?.focus()), "On-screen keyboard"),
    keyButton("Esc", () => press("Escape")), keyButton("Tab", () => press("Tab")),
    ...["Ctrl", "Alt", "Win"].map(modifierButton),
    ...[["←", "Left"], ["↑", "Up"], ["↓", "Down"], ["→", "Right"]].map(([sign, name]) => keyButton(sign, () => press(name), name)),
    keyButton("Enter", () => press("Enter")), keyButton("Del", () => press("Delete")),
    keyButton("F2", () => press("F2")), keyButton("F12", () => press("F12")),
  );
}

// Phones send what their keyboard makes of a text field, not keys.
function touchKeyboard() {
  const field = $("touch");
  const seed = "\u200b\u200b"; // something that Backspace can take away
  const reset = () => { field.value = seed; field.setSelectionRange(seed.length, seed.length); };
  reset();
  field.addEventListener("input", (event) => {
    if (event.isComposing) return;
    const typed = field.value.replaceAll("\u200b", "");
    if (field.value.length < seed.length && !typed) press("Backspace");
    for (const character of typed) view?.character(character);
    showHeld();
    reset();
  });
  field.addEventListener("compositionend", () => field.dispatchEvent(new Event("input")));
}

function typeDialog() {
  const dialog = $("type-dialog"), progress = $("type-progress"), go = $("type-go");
  let abort = new AbortController();
  $("type").addEventListener("click", () => { closeMenus(); dialog.showModal(); $("type-text").focus(); });
  $("type-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { abort.abort(); view?.focus(); });
  go.addEventListener("click", async () => {
    const text = $("type-text").value + ($("type-enter").checked ? "\n" : "");
    abort = new AbortController();
    go.disabled = true;
    progress.hidden = false;
    await view?.type(text, (part) => (progress.value = part), abort.signal);
    go.disabled = false;
    progress.hidden = true;
    if (!abort.signal.aborted) { $("type-text").value = ""; dialog.close(); }
  });
}

// How keys reach a guest's screen; remembered for each VM.

const remembered = {
  get(name) { try { return localStorage.getItem(`console:${page.name}:${name}`); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(`console:${page.name}:${name}`, value); } catch { /* not allowed */ } },
};

function setUpScreen(screen) {
  screen.layout = $("layout").value;
  screen.deadKeys = !page.keyboard.endsWith("_noacc");
  screen.byCharacter = $("by-character").checked;
  return screen;
}

function keyboardChoices() {
  const select = $("layout");
  select.append(...Object.entries(LAYOUTS).map(([name, label]) => new Option(label, name)));
  const known = remembered.get("layout");
  select.value = known in LAYOUTS ? known : layoutOf(page.keyboard) || "us";
  $("by-character").checked = remembered.get("by-character") === "1";
  select.addEventListener("change", () => {
    remembered.set("layout", select.value);
    if (views.vnc) views.vnc.layout = select.value;
  });
  $("by-character").addEventListener("change", (event) => {
    remembered.set("by-character", event.target.checked ? "1" : "");
    if (views.vnc) views.vnc.byCharacter = event.target.checked;
  });
}

function tools() {
  $("take-control").addEventListener("click", takeControl);
  for (const button of all("[data-show]")) button.addEventListener("click", () => show(button.dataset.show));
  for (const button of all("[data-power]")) button.addEventListener("click", () => power(button.dataset.power));
  for (const button of all("[data-combo]")) button.addEventListener("click", () => { press(button.dataset.combo); view?.focus(); });
  $("scale").addEventListener("change", (event) => { views.vnc.scale = event.target.checked; views.vnc.apply(); });
  $("view-only")?.addEventListener("change", () => { closeMenus(); show(kind); });
  $("reconnect").addEventListener("click", () => { closeMenus(); failures = 0; connect(); });
  $("retry").addEventListener("click", () => { failures = 0; connect(); });
  $("take-over").addEventListener("click", () => { failures = 0; connect(true); });
  $("full-screen").addEventListener("click", async () => {
    closeMenus();
    if (document.fullscreenElement) await document.exitFullscreen();
    else {
      await document.documentElement.requestFullscreen().catch(() => toast("This browser has no full screen."));
      navigator.keyboard?.lock?.().catch(() => {});
    }
    view?.focus();
  });
  $("pop-out").addEventListener("click", () => {
    closeMenus();
    const opened = window.open(location.href, `console-${page.name}`, "popup,width=1064,height=860");
    if (!opened) return toast("The browser blocked the new window.");
    attempt++;
    hangUp();
    return say("Shown in its own window.", "take-over");
  });
  $("screenshot").addEventListener("click", async () => {
    closeMenus();
    const image = await views.vnc?.screenshot();
    if (!image) return toast("There is no picture yet.");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(image);
    link.download = `${page.name}-${new Date().toISOString().replace(/[:.]/g, "-")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    return view?.focus();
  });
  const clipboard = (work) => async () => {
    closeMenus();
    await work().catch(() => toast("The browser does not open its clipboard here: use Ctrl-Shift-C and Ctrl-V."));
    view?.focus();
  };
  $("copy").addEventListener("click", clipboard(() => views.serial.copy()));
  $("paste").addEventListener("click", clipboard(() => views.serial.paste()));
  $("key-bar-toggle").addEventListener("click", (event) => {
    const visible = getComputedStyle($("key-bar")).display !== "none";
    $("key-bar").classList.toggle("shown", !visible);
    $("key-bar").classList.toggle("hidden", visible);
    event.currentTarget.setAttribute("aria-pressed", String(!visible));
    view?.fit();
  });
  document.addEventListener("click", (event) => {
    for (const menu of all("details[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey && event.altKey && event.code === "Home") {
      event.preventDefault();
      event.stopImmediatePropagation();
      document.querySelector(".tools button, .tools summary").focus();
    } else if (event.key === "Escape" && event.target.closest?.("details[open]")) {
      const menu = event.target.closest("details");
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }, { capture: true });
  window.addEventListener("online", () => { if (!socket || socket.readyState > WebSocket.OPEN) connect(); });
}

fillKeys();
touchKeyboard();
typeDialog();
keyboardChoices();
tools();
window.addEventListener("pagehide", hangUp);
if (kind) show(kind);
else say(`${page.title} has no console.`, "leave");
