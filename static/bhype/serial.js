// The serial console of a guest: xterm.js on a line.

import { Terminal } from "../vendor/xterm/xterm.mjs";
import { FitAddon } from "../vendor/xterm/addon-fit.mjs";
import { SEQUENCES, control } from "./keys.js";

const PIECE = 512; // characters per message when a text is typed: a UART is no network
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class Serial {
  constructor(element) {
    this.element = element;
    this.socket = null;
    this.held = new Set();
    this.encoder = new TextEncoder();
    this.terminal = new Terminal({
      convertEol: false, cursorBlink: true, scrollback: 5000, screenReaderMode: true,
      fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace", fontSize: 14,
    });
    this.fitter = new FitAddon();
    this.terminal.loadAddon(this.fitter);
    this.terminal.open(element);
    this.terminal.onData((text) => this.send(this.modified(text)));
    this.terminal.onBinary((text) => this.socket?.send(Uint8Array.from(text, (each) => each.charCodeAt(0))));
    this.terminal.attachCustomKeyEventHandler((event) => this.clipboardKey(event));
    new ResizeObserver(() => this.fit()).observe(element);
  }

  attach(socket, _password, { connected }) {
    this.detach();
    this.socket = socket;
    socket.addEventListener("message", (event) => this.terminal.write(new Uint8Array(event.data)));
    if (socket.readyState === WebSocket.OPEN) connected();
    else socket.addEventListener("open", () => connected());
  }

  detach() {
    const socket = this.socket;
    this.socket = null;
    this.held.clear();
    socket?.close();
  }

  focus() { this.terminal.focus(); }
  fit() { if (this.element.clientWidth) this.fitter.fit(); }
  apply() {}

  send(text) {
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
    for (let start = 0; start < typed.length && !signal.aborted && this.socket; start += PIECE) {
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
