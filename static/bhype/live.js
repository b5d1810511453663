// Live pages: elements say what they show with data-live="topic topic"; when that has changed they get a "live"
// event, and hx-trigger="live" fetches them anew. Without a connection all of them get one every 5 seconds.
(() => {
  const DEBOUNCE = 150;
  const REFRESH = 5000;
  const FIRST_WAIT = 500;
  const LONGEST_WAIT = 15000;
  const SILENCE = 3000;
  const SIGNED_OUT = 4401;

  let socket = null;
  let open = false;
  let wait = FIRST_WAIT;
  let wanted = new Set();
  // When the page last knew all about what it shows; on loading, that is when the server began to make it.
  let knownAt = performance.timeOrigin;
  let lostAt = null;
  let refresher = null;
  let bannerTimer = null;
  let over = false;
  const pending = new WeakMap();

  const elements = () => document.querySelectorAll("[data-live]");
  const topicsOf = (element) => element.dataset.live.split(/\s+/).filter(Boolean);
  // It does not bubble: a live part in a live part is fetched by itself. htmx hears it like any event.
  const trigger = (element) => element.dispatchEvent(new CustomEvent("live", { bubbles: false }));

  // While a question is open its form must stay: a swap would take it away, and "yes" would do nothing.
  const asking = () => document.querySelector("#confirm-dialog[open]") !== null;

  // At most one event per element and 150 ms, and always one after the last change.
  const poke = (element) => {
    if (pending.has(element)) return;
    pending.set(element, setTimeout(() => {
      pending.delete(element);
      if (!element.isConnected) return;
      if (asking()) poke(element);
      else trigger(element);
    }, DEBOUNCE));
  };
  document.addEventListener("htmx:beforeSwap", (event) => {
    const element = event.detail.requestConfig?.elt;
    if (!element?.matches("[data-live]") || !asking()) return;
    event.detail.shouldSwap = false;
    poke(element);
  });
  const changed = (topic) => elements().forEach((element) => topicsOf(element).includes(topic) && poke(element));

  const shown = () => {
    const topics = new Set();
    elements().forEach((element) => topicsOf(element).forEach((topic) => topics.add(topic)));
    return topics;
  };
  const send = (message) => socket.send(JSON.stringify(message));
  const subscribe = () => {
    if (!open) return;
    const now = shown();
    const added = [...now].filter((topic) => !wanted.has(topic));
    const gone = [...wanted].filter((topic) => !now.has(topic));
    wanted = now;
    if (!added.length && !gone.length) return;
    // What changed since the page was made, and a little before, is told again.
    const age = (Date.now() - knownAt) / 1000 + 1;
    send({ subscribe: added, unsubscribe: gone, age: Math.max(1, age) });
  };

  const banner = (text) => {
    const element = document.getElementById("live-banner");
    if (!element) return;
    element.textContent = text;
    element.hidden = !text;
  };
  const lost = () => {
    if (lostAt !== null || over) return;
    lostAt = new Date();
    refresher = setInterval(() => elements().forEach(poke), REFRESH);
    // A restart of the panel takes a moment; that is not worth a banner.
    bannerTimer = setTimeout(() => {
      const time = lostAt.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      banner(`Not live since ${time}, refreshing every 5 seconds`);
    }, SILENCE);
  };
  const back = () => {
    clearInterval(refresher);
    clearTimeout(bannerTimer);
    lostAt = refresher = bannerTimer = null;
    banner("");
  };

  const connect = () => {
    if (over) return;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}/ws/live`);
    socket.addEventListener("open", () => {
      open = true;
      wait = FIRST_WAIT;
      wanted = new Set();
      back();
      subscribe();
    });
    socket.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      if (message.topic) changed(message.topic);
    });
    socket.addEventListener("close", (event) => {
      if (open) knownAt = Date.now();
      open = false;
      if (event.code === SIGNED_OUT) {
        over = true;
        back();
        banner("You are signed out. Reload the page to sign in again.");
        return;
      }
      lost();
      setTimeout(connect, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST_WAIT);
    });
  };

  // A browser closes the sockets of a page that it leaves; that is no loss of the connection.
  addEventListener("pagehide", () => {
    over = true;
    if (socket) socket.close();
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (open) {
      // Only what has just been fetched is new here.
      knownAt = Math.max(knownAt, Date.now() - 2000);
      subscribe();
    }
  });
  // A machine that slept, or a page that was frozen, has missed things without noticing.
  let tick = Date.now();
  setInterval(() => {
    if (open && Date.now() - tick > 4 * REFRESH) elements().forEach(poke);
    tick = Date.now();
  }, REFRESH);

  // Only pages that show something live are connected; others connect when they do.
  const start = () => elements().length && !socket && connect();
  document.addEventListener("htmx:afterSettle", start);
  start();
})();
