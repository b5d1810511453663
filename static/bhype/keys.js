// Names of keys, what X calls them (keysyms, X11/keysymdef.h), and where they lie on a US keyboard.

export const KEYS = {
  Ctrl: [0xffe3, "ControlLeft"], Alt: [0xffe9, "AltLeft"], Shift: [0xffe1, "ShiftLeft"], Win: [0xffeb, "MetaLeft"],
  Escape: [0xff1b, "Escape"], Tab: [0xff09, "Tab"], Enter: [0xff0d, "Enter"], Backspace: [0xff08, "Backspace"],
  Insert: [0xff63, "Insert"], Delete: [0xffff, "Delete"], Home: [0xff50, "Home"], End: [0xff57, "End"],
  PageUp: [0xff55, "PageUp"], PageDown: [0xff56, "PageDown"],
  Left: [0xff51, "ArrowLeft"], Up: [0xff52, "ArrowUp"], Right: [0xff53, "ArrowRight"], Down: [0xff54, "ArrowDown"],
  Print: [0xff61, "PrintScreen"], AltGr: [0xfe03, "AltRight"], Space: [0x20, "Space"],
};
for (let number = 1; number <= 12; number++) KEYS[`F${number}`] = [0xffbd + number, `F${number}`];

export const MODIFIERS = ["Ctrl", "Alt", "Shift", "Win", "AltGr"];

// The main block of a keyboard, row by row, by the names that browsers give to the places of keys.
const PLACES = [
  ..."1234567890".split("").map((digit) => `Digit${digit}`), "Minus", "Equal",
  ..."QWERTYUIOP".split("").map((letter) => `Key${letter}`), "BracketLeft", "BracketRight", "Backslash",
  ..."ASDFGHJKL".split("").map((letter) => `Key${letter}`), "Semicolon", "Quote", "Backquote",
  "IntlBackslash", ..."ZXCVBNM".split("").map((letter) => `Key${letter}`), "Comma", "Period", "Slash",
];

// What is printed on the keys in these places: alone, with Shift, with AltGr (a blank: nothing), and which of
// them are dead keys, that show with the space bar only.
const PRINTED = {
  us: [
    "1234567890-=" + "qwertyuiop[]\\" + "asdfghjkl;'`" + " zxcvbnm,./",
    "!@#$%^&*()_+" + "QWERTYUIOP{}|" + 'ASDFGHJKL:"~' + " ZXCVBNM<>?",
    "", "",
  ],
  uk: [
    "1234567890-=" + "qwertyuiop[]#" + "asdfghjkl;'`" + "\\zxcvbnm,./",
    '!"£$%^&*()_+' + "QWERTYUIOP{}~" + "ASDFGHJKL:@¬" + "|ZXCVBNM<>?",
    "   €", "",
  ],
  de: [
    "1234567890ß´" + "qwertzuiopü+#" + "asdfghjklöä^" + "<yxcvbnm,.-",
    '!"§$%&/()=?`' + "QWERTZUIOPÜ*'" + "ASDFGHJKLÖÄ°" + ">YXCVBNM;:_",
    " ²³   {[]}\\ " + "@ €        ~ " + "            " + "|      µ", "´`^",
  ],
  ch: [
    "1234567890'^" + "qwertzuiopü¨$" + "asdfghjklöä§" + "<yxcvbnm,.-",
    '+"*ç%&/()=?`' + "QWERTZUIOPè!£" + "ASDFGHJKLéà°" + ">YXCVBNM;:_",
    "¦@#  ¬|¢  ´~" + "  €       []}" + "          { " + "\\", "^`´~¨",
  ],
  fr: [
    "&é\"'(-è_çà)=" + "azertyuiop $*" + "qsdfghjklmù²" + "<wxcvbn,;:!",
    "1234567890°+" + "AZERTYUIOP¨£µ" + "QSDFGHJKLM% " + ">WXCVBN?./§",
    " ~#{[|`\\^@]}" + "  €        ¤", "¨",
  ],
  es: [
    "1234567890'¡" + "qwertyuiop`+ç" + "asdfghjklñ´º" + "<zxcvbnm,.-",
    '!"·$%&/()=?¿' + "QWERTYUIOP^*Ç" + "ASDFGHJKLÑ¨ª" + ">ZXCVBNM;:_",
    "|@#~€¬      " + "  €       []}" + "          {\\", "`^´¨",
  ],
  it: [
    "1234567890'ì" + "qwertyuiopè+ù" + "asdfghjklòà\\" + "<zxcvbnm,.-",
    '!"£$%&/()=?^' + "QWERTYUIOPé*§" + "ASDFGHJKLç°|" + ">ZXCVBNM;:_",
    "    € {[]}`~" + "  €       [] " + "         @# ", "",
  ],
  pt: [
    "1234567890'«" + "qwertyuiop+´~" + "asdfghjklçº\\" + "<zxcvbnm,.-",
    '!"#$%&/()=?»' + "QWERTYUIOP*`^" + "ASDFGHJKLÇª|" + ">ZXCVBNM;:_",
    " @£§  {[]}  " + "  €", "´~`^",
  ],
  se: [
    "1234567890+´" + "qwertyuiopå¨'" + "asdfghjklöä§" + "<zxcvbnm,.-",
    '!"#¤%&/()=?`' + "QWERTYUIOPÅ^*" + "ASDFGHJKLÖÄ½" + ">ZXCVBNM;:_",
    " @£$€ {[]}\\ " + "  €        ~ " + "            " + "|      µ", "´`¨^~",
  ],
  no: [
    "1234567890+\\" + "qwertyuiopå¨'" + "asdfghjkløæ|" + "<zxcvbnm,.-",
    '!"#¤%&/()=?`' + "QWERTYUIOPÅ^*" + "ASDFGHJKLØÆ§" + ">ZXCVBNM;:_",
    " @£$€ {[]} ´" + "  €        ~ " + "            " + "       µ", "`´¨^~",
  ],
  dk: [
    "1234567890+´" + "qwertyuiopå¨'" + "asdfghjklæø½" + "<zxcvbnm,.-",
    '!"#¤%&/()=?`' + "QWERTYUIOPÅ^*" + "ASDFGHJKLÆØ§" + ">ZXCVBNM;:_",
    " @£$€ {[]} |" + "  €        ~ " + "            " + "\\      µ", "´`¨^~",
  ],
};
PRINTED.fi = PRINTED.se;

export const LAYOUTS = {
  us: "US", uk: "British", de: "German", ch: "Swiss German", fr: "French", es: "Spanish", it: "Italian",
  pt: "Portuguese", se: "Swedish", fi: "Finnish", no: "Norwegian", dk: "Danish",
};

// The layout for a name of /usr/share/bhyve/kbdlayout, such as "de_noacc": a key of LAYOUTS, or "" if it is none.
export function layoutOf(name) {
  const base = name.replace(/_(no)?acc$/, "");
  if (!base || base === "default" || base === "us_unix") return "us";
  return base in LAYOUTS ? base : "";
}

const strokes = {};

function read(layout) {
  const [plain, shifted, third, dead] = PRINTED[layout];
  const found = { " ": { code: "Space", shift: false, third: false, dead: false } };
  // The last to write a character wins: it is typed in the simplest way.
  for (const [printed, held] of [[third, { third: true }], [shifted, { shift: true }], [plain, {}]]) {
    [...printed].forEach((character, place) => {
      if (character !== " ") {
        found[character] = { code: PLACES[place], shift: false, third: false, dead: dead.includes(character), ...held };
      }
    });
  }
  return found;
}

// How to type one character on a keyboard of that layout: {keysym, code, shift, third, dead}. One that no key has
// goes by its keysym alone. deadKeys: whether the guest's layout has them.
export function stroke(character, layout = "us", deadKeys = true) {
  const plain = { shift: false, third: false, dead: false };
  if (character === "\n" || character === "\r") return { ...plain, keysym: KEYS.Enter[0], code: "Enter" };
  if (character === "\t") return { ...plain, keysym: KEYS.Tab[0], code: "Tab" };
  const point = character.codePointAt(0);
  const keysym = point < 0x100 ? point : 0x01000000 | point;
  const known = layout in PRINTED ? layout : "us";
  strokes[known] ??= read(known);
  const found = { keysym, code: null, ...plain, ...strokes[known][character] };
  return { ...found, dead: found.dead && deadKeys };
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
