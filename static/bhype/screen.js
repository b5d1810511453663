// The screen of a guest: noVNC on a line.

import RFB from "../novnc/core/rfb.js";
import { KEYS, MODIFIERS, stroke } from "./keys.js";

const TYPING_PAUSE = 15; // milliseconds between keys: guests poll their keyboard

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class Screen {
  constructor(element) {
    this.element = element;
    this.rfb = null;
    this.held = new Set();
    this.scale = true;
    this.mayWrite = true;
    this.layout = "us"; // of the guest's keyboard, for text that is typed
    this.deadKeys = true;
    // Keys go by their place on the keyboard, and the guest's layout says what they mean; or by what is printed
    // on them here, and the VM's layout (bhyve -K) says where they lie.
    this.byCharacter = false;
  }

  // Show what comes over the socket. Calls connected() at the first picture, failed(sentence) when VNC refuses.
  attach(socket, password, { connected, failed }) {
    this.detach();
    const rfb = new RFB(this.element, socket, { credentials: { password }, shared: true });
    this.rfb = rfb;
    const send = rfb.sendKey.bind(rfb);
    rfb.sendKey = (keysym, code, down) => send(keysym, this.byCharacter && keysym ? null : code, down);
    rfb.background = "#000";
    rfb.focusOnClick = true;
    this.apply();
    rfb.addEventListener("connect", () => connected());
    rfb.addEventListener("disconnect", () => { if (this.rfb === rfb) this.rfb = null; });
    rfb.addEventListener("credentialsrequired", () => failed("The VNC server asks for another password."));
    rfb.addEventListener("securityfailure", (event) => failed(event.detail.reason || "The VNC server refuses the password."));
  }

  apply() {
    if (!this.rfb) return;
    this.rfb.scaleViewport = this.scale;
    this.rfb.clipViewport = false;
    this.rfb.viewOnly = !this.mayWrite;
  }

  detach() {
    this.held.clear();
    const rfb = this.rfb;
    this.rfb = null;
    if (rfb) try { rfb.disconnect(); } catch { /* it had ended by itself */ }
    this.element.replaceChildren();
  }

  focus() { this.rfb?.focus({ preventScroll: true }); }
  fit() {}

  // Hold a modifier until the next key, or let it go. Returns whether it is held now.
  toggle(name) {
    const [keysym, code] = KEYS[name];
    const down = !this.held.has(name);
    if (down) this.held.add(name); else this.held.delete(name);
    this.rfb?.sendKey(keysym, code, down);
    return down;
  }

  release() {
    for (const name of [...this.held]) this.toggle(name);
  }

  // Press keys together in this order and let go in the other: combo("Ctrl Alt Delete").
  combo(names) {
    const keys = names.split(" ").map((name) => KEYS[name]);
    for (const [keysym, code] of keys) this.rfb?.sendKey(keysym, code, true);
    for (const [keysym, code] of keys.reverse()) this.rfb?.sendKey(keysym, code, false);
    if (!MODIFIERS.includes(names)) this.release();
  }

  character(character) {
    const { keysym, code, shift, third, dead } = stroke(character, this.layout, this.deadKeys);
    const held = [...(shift ? ["Shift"] : []), ...(third ? ["AltGr"] : [])].map((name) => KEYS[name]);
    for (const [heldSym, heldCode] of held) this.rfb?.sendKey(heldSym, heldCode, true);
    this.rfb?.sendKey(keysym, code, true);
    this.rfb?.sendKey(keysym, code, false);
    for (const [heldSym, heldCode] of held.reverse()) this.rfb?.sendKey(heldSym, heldCode, false);
    if (dead) for (const down of [true, false]) this.rfb?.sendKey(...KEYS.Space, down);
    this.release();
  }

  // Type a text key by key. progress(part of 1); stops when the signal is aborted or the line ends.
  async type(text, progress, signal) {
    const characters = [...text.replace(/\r\n?/g, "\n")];
    for (let index = 0; index < characters.length && !signal.aborted && this.rfb; index++) {
      this.character(characters[index]);
      progress((index + 1) / characters.length);
      await pause(TYPING_PAUSE);
    }
  }

  screenshot() {
    return new Promise((done) => (this.rfb ? this.rfb.toBlob(done, "image/png") : done(null)));
  }
}
