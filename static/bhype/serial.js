// The serial console of a guest: xterm.js on a line that several people share. One of them writes; the others
// see it in the writer's size.

import { Terminal } from "../vendor/xterm/xterm.mjs";
import { FitAddon } from "../vendor/xterm/addon-fit.mjs";
import { SEQUENCES, control } from "./keys.js";
import { ask } from "./line.js";

const FONT = 14, SMALLEST = 6; // pixels
const PIECE = 512; // characters per message when a text is typed: a UART is no network
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class Serial {
  constructor(element) {
    this.element = element;
    this.socket = null;
    this.held = new Set();
    this.encoder = new TextEncoder();
    this.writes = false;
    this.size = null; // the writer's, while that is somebody else
    this.onrefused = () => {}; // something was typed that goes nowhere
    this.terminal = new Terminal({
      convertEol: false, cursorBlink: true, scrollback: 5000, screenReaderMode: true,
      fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace", fontSize: FONT,
    });
    this.fitter = new FitAddon();
    this.terminal.loadAddon(this.fitter);
    this.terminal.open(element);
    this.terminal.onData((text) => this.send(this.modified(text)));
    this.terminal.onBinary((text) => {
      if (this.writes) this.socket?.send(Uint8Array.from(text, (each) => each.charCodeAt(0)));
    });
    this.terminal.onResize(({ cols, rows }) => { if (this.writes) ask(this.socket, { size: [cols, rows] }); });
    this.terminal.attachCustomKeyEventHandler((event) => this.clipboardKey(event));
    new ResizeObserver(() => this.fit()).observe(element);
  }

  attach(socket, _password, { connected }) {
    this.detach();
    this.socket = socket;
    let fresh = true;
    socket.addEventListener("message", (event) => {
      // What it begins with are the last lines, which may be there already.
      if (fresh) this.terminal.reset();
      fresh = false;
      this.terminal.write(new Uint8Array(event.data));
    });
    socket.addEventListener("line", ({ detail }) => this.share(detail));
    if (socket.readyState === WebSocket.OPEN) connected();
    else socket.addEventListener("open", () => connected());
  }

  // Who writes, and in what size the writer sees it.
  share({ writes, size }) {
    this.writes = writes;
    this.size = writes ? null : size;
    this.terminal.options.cursorBlink = writes;
    this.fit();
    if (writes) ask(this.socket, { size: [this.terminal.cols, this.terminal.rows] });
  }

  detach() {
    const socket = this.socket;
    this.socket = null;
    this.writes = false;
    this.size = null;
    this.held.clear();
    socket?.close();
  }

  focus() { this.terminal.focus(); }
  apply() {}

  fit() {
    if (!this.element.clientWidth) return;
    this.terminal.options.fontSize = FONT;
    if (!this.size) { this.fitter.fit(); return; }
    const [columns, rows] = this.size, room = this.fitter.proposeDimensions();
    if (!room) return;
    const scale = Math.min(1, room.cols / columns, room.rows / rows);
    this.terminal.options.fontSize = Math.max(SMALLEST, Math.floor(FONT * scale));
    this.terminal.resize(columns, rows);
  }

  // The size that it would have here, for a line that is not open yet.
  room() {
    const room = this.fitter.proposeDimensions();
    return room && Number.isFinite(room.cols) ? [room.cols, room.rows] : null;
  }

  send(text) {
    if (this.socket && !this.writes) { this.onrefused(); return; }
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(this.encoder.encode(text));
  }

  toggle(name) {
    const down = !this.held.has(name);
    if (down) this.held.add(name); else this.held.delete(name);
    return down;
  }

  release() { this.held.clear(); }

  // Apply the modifiers that the key bar holds to what is typed next.
  modified(text) {
    if (this.held.has("Ctrl") && text.length === 1) text = control(text);
    if (this.held.has("Alt")) text = `\x1b${text}`;
    this.release();
    return text;
  }

  combo(names) {
    const key = names.split(" ").pop();
    if (SEQUENCES[key]) this.send(this.modified(SEQUENCES[key]));
  }

  character(character) { this.send(this.modified(character === "\n" ? "\r" : character)); }

  async type(text, progress, signal) {
    const typed = text.replace(/\r\n?|\n/g, "\r");
    for (let start = 0; start < typed.length && !signal.aborted && this.socket && this.writes; start += PIECE) {
      this.send(typed.slice(start, start + PIECE));
      progress(Math.min(1, (start + PIECE) / typed.length));
      await pause(20);
    }
  }

  // Ctrl-Shift-C and Ctrl-Shift-V, as in other terminals; the browser's own paste event works as well.
  clipboardKey(event) {
    if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey) return true;
    if (event.code === "KeyC") { event.preventDefault(); this.copy(); return false; }
    if (event.code === "KeyV") { event.preventDefault(); this.paste(); return false; }
    return true;
  }

  async copy() {
    const text = this.terminal.getSelection();
    if (text) await navigator.clipboard.writeText(text);
    return text.length;
  }

  async paste() { this.terminal.paste(await navigator.clipboard.readText()); }
}
