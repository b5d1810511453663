// Names of keys, what X calls them (keysyms, X11/keysymdef.h), and where they lie on a US keyboard.

export const KEYS = {
  Ctrl: [0xffe3, "ControlLeft"], Alt: [0xffe9, "AltLeft"], Shift: [0xffe1, "ShiftLeft"], Win: [0xffeb, "MetaLeft"],
  Escape: [0xff1b, "Escape"], Tab: [0xff09, "Tab"], Enter: [0xff0d, "Enter"], Backspace: [0xff08, "Backspace"],
  Insert: [0xff63, "Insert"], Delete: [0xffff, "Delete"], Home: [0xff50, "Home"], End: [0xff57, "End"],
  PageUp: [0xff55, "PageUp"], PageDown: [0xff56, "PageDown"],
  Left: [0xff51, "ArrowLeft"], Up: [0xff52, "ArrowUp"], Right: [0xff53, "ArrowRight"], Down: [0xff54, "ArrowDown"],
  Print: [0xff61, "PrintScreen"],
};
for (let number = 1; number <= 12; number++) KEYS[`F${number}`] = [0xffbd + number, `F${number}`];

export const MODIFIERS = ["Ctrl", "Alt", "Shift", "Win"];

const US = {};
for (const letter of "abcdefghijklmnopqrstuvwxyz") {
  US[letter] = [`Key${letter.toUpperCase()}`, false];
  US[letter.toUpperCase()] = [`Key${letter.toUpperCase()}`, true];
}
[..."1234567890"].forEach((digit, place) => {
  US[digit] = [`Digit${digit}`, false];
  US["!@#$%^&*()"[place]] = [`Digit${digit}`, true];
});
for (const [code, plain, shifted] of [
  ["Minus", "-", "_"], ["Equal", "=", "+"], ["BracketLeft", "[", "{"], ["BracketRight", "]", "}"],
  ["Backslash", "\\", "|"], ["Semicolon", ";", ":"], ["Quote", "'", '"'], ["Backquote", "`", "~"],
  ["Comma", ",", "<"], ["Period", ".", ">"], ["Slash", "/", "?"],
]) {
  US[plain] = [code, false];
  US[shifted] = [code, true];
}
US[" "] = ["Space", false];

// How to type one character: {keysym, code, shift}. A character that no US keyboard has goes by its keysym alone.
export function stroke(character) {
  if (character === "\n" || character === "\r") return { keysym: KEYS.Enter[0], code: "Enter", shift: false };
  if (character === "\t") return { keysym: KEYS.Tab[0], code: "Tab", shift: false };
  const point = character.codePointAt(0);
  const keysym = point < 0x100 ? point : 0x01000000 | point;
  const [code, shift] = US[character] ?? [null, false];
  return { keysym, code, shift };
}

// What a terminal sends for a key, and for a character with Ctrl.
export const SEQUENCES = {
  Escape: "\x1b", Tab: "\t", Enter: "\r", Backspace: "\x7f", Insert: "\x1b[2~", Delete: "\x1b[3~",
  Home: "\x1b[H", End: "\x1b[F", PageUp: "\x1b[5~", PageDown: "\x1b[6~",
  Up: "\x1b[A", Down: "\x1b[B", Right: "\x1b[C", Left: "\x1b[D",
  F1: "\x1bOP", F2: "\x1bOQ", F3: "\x1bOR", F4: "\x1bOS", F5: "\x1b[15~", F6: "\x1b[17~", F7: "\x1b[18~",
  F8: "\x1b[19~", F9: "\x1b[20~", F10: "\x1b[21~", F11: "\x1b[23~", F12: "\x1b[24~",
};

export function control(character) {
  const code = character.toUpperCase().charCodeAt(0);
  return code >= 64 && code < 96 ? String.fromCharCode(code - 64) : character;
}
