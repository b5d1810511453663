// Plays recorded console sessions: a serial line on xterm.js, a screen on noVNC.
//
// A tape has length (seconds), rewind(), show(seconds): everything up to that moment, and next(seconds): when
// something happens after it.

import { Terminal } from "../vendor/xterm/xterm.mjs";

const FONT = 14, SMALLEST = 4; // pixels
const PAUSE = 1; // seconds that are left of a longer pause

const $ = (id) => document.getElementById(id);
const player = $("player").dataset;

// asciicast v2: a header, then [seconds, "o", text] line by line. The last line may be cut off.
class SerialTape {
  constructor(bytes, stage) {
    const lines = new TextDecoder().decode(bytes).split("\n");
    const head = JSON.parse(lines[0]);
    this.events = [];
    for (const line of lines.slice(1)) {
      try {
        const [at, kind, text] = JSON.parse(line);
        if (kind === "o") this.events.push([at, text]);
      } catch { /* cut off */ }
    }
    this.length = this.events.at(-1)?.[0] ?? 0;
    this.terminal = new Terminal({
      cols: head.width, rows: head.height, disableStdin: true, scrollback: 5000, screenReaderMode: true,
      fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace", fontSize: FONT,
    });
    this.terminal.open(stage);
    this.place = 0;
    this.fit(stage);
    window.addEventListener("resize", () => this.fit(stage));
  }

  // The whole terminal is seen, in smaller letters where it would not fit.
  fit(stage) {
    this.terminal.options.fontSize = FONT;
    const { offsetWidth, offsetHeight } = stage.querySelector(".xterm-screen");
    const height = Math.max(160, innerHeight - (innerWidth < 768 ? 460 : 320));
    const scale = Math.min(1, (stage.clientWidth - 30) / offsetWidth, height / offsetHeight);
    this.terminal.options.fontSize = Math.max(SMALLEST, Math.floor(FONT * scale));
  }

  rewind() {
    this.terminal.reset();
    this.place = 0;
  }

  show(seconds) {
    let text = "";
    while (this.place < this.events.length && this.events[this.place][0] <= seconds) text += this.events[this.place++][1];
    if (text) this.terminal.write(text);
  }

  next() { return this.events[this.place]?.[0] ?? this.length; }
}

// What noVNC takes for its WebSocket: it is given what the server sent then, and what it says goes nowhere.
class Playback {
  constructor() {
    this.binaryType = "arraybuffer";
    this.protocol = "";
    this.readyState = WebSocket.CONNECTING;
    this.onopen = this.onmessage = this.onclose = this.onerror = null;
  }

  send() {}
  close() { this.readyState = WebSocket.CLOSED; }
  open() { this.readyState = WebSocket.OPEN; this.onopen?.({}); }
  give(data) { if (this.readyState === WebSocket.OPEN) this.onmessage?.({ data }); }
}

// A header of one line, then pieces: milliseconds and length (32 bits, big-endian), bytes. The last may be cut off.
class ScreenTape {
  constructor(bytes, stage, RFB) {
    this.RFB = RFB;
    this.stage = stage;
    this.pieces = [];
    const view = new DataView(bytes);
    let at = new Uint8Array(bytes).indexOf(10) + 1;
    while (at + 8 <= view.byteLength) {
      const length = view.getUint32(at + 4);
      if (at + 8 + length > view.byteLength) break;
      this.pieces.push([view.getUint32(at) / 1000, bytes.slice(at + 8, at + 8 + length)]);
      at += 8 + length;
    }
    this.length = this.pieces.at(-1)?.[0] ?? 0;
    this.rewind();
  }

  rewind() {
    this.socket?.close();
    this.stage.replaceChildren();
    this.socket = new Playback();
    this.place = 0;
    const frame = document.createElement("div");
    frame.style.height = innerWidth < 768 ? "50dvh" : "min(70dvh, 48rem)";
    this.stage.append(frame);
    // The answer to the server's challenge goes nowhere either: any password will do.
    this.rfb = new this.RFB(frame, this.socket, { credentials: { password: "recorded" } });
    this.rfb.viewOnly = true;
    this.rfb.scaleViewport = true;
    this.rfb.background = "#000";
    this.socket.open();
  }

  show(seconds) {
    while (this.place < this.pieces.length && this.pieces[this.place][0] <= seconds) this.socket.give(this.pieces[this.place++][1]);
  }

  next() { return this.pieces[this.place]?.[0] ?? this.length; }
}

async function load() {
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  const response = await fetch(player.url, {
    method: "POST", redirect: "manual", headers: { "X-CSRFToken": token }, body: new URLSearchParams({ purpose: "play" }),
  });
  if (!response.ok) throw new Error("The recording has no file any more.");
  const bytes = await response.arrayBuffer();
  if (player.kind !== "vnc") return new SerialTape(bytes, $("stage"));
  const { default: RFB } = await import("../novnc/core/rfb.js");
  return new ScreenTape(bytes, $("stage"), RFB);
}

const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function run(tape) {
  let at = 0, playing = false, last = 0;

  function paint() {
    $("seek").value = at;
    $("clock").textContent = `${minutes(at)} / ${minutes(tape.length)}`;
    $("play").textContent = playing ? "Pause" : "Play";
  }

  function frame(now) {
    if (!playing) return;
    at += ((now - last) / 1000) * Number($("speed").value);
    last = now;
    if ($("skip").checked && tape.next() - at > PAUSE) at = tape.next() - PAUSE;
    if (at >= tape.length) { at = tape.length; playing = false; }
    tape.show(at);
    paint();
    requestAnimationFrame(frame);
  }

  function start() {
    if (at >= tape.length) seek(0);
    playing = true;
    last = performance.now();
    paint();
    requestAnimationFrame(frame);
  }

  function seek(to) {
    if (to < at) tape.rewind();
    at = to;
    tape.show(at);
    paint();
  }

  $("seek").max = tape.length;
  $("play").disabled = $("seek").disabled = false;
  $("play").addEventListener("click", () => { if (playing) { playing = false; paint(); } else start(); });
  $("seek").addEventListener("input", () => { playing = false; seek(Number($("seek").value)); });
  $("player-state").textContent = tape.length ? "" : "Nothing was shown in this session.";
  paint();
  start();
}

load().then(run, (error) => ($("player-state").textContent = error.message));
