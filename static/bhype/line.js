// A WebSocket to a console. Binary messages are the console's; text messages are about the line and end here:
// what the panel tells of a serial line arrives as an event "line", whose detail is as in viewers.Line.

const PING_SECONDS = 20;

export function line(path, ticket, size) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("ticket", ticket);
  if (size) url.searchParams.set("size", size.join("x"));
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  // First listener of all: nobody after it sees a text message.
  socket.addEventListener("message", (event) => {
    if (typeof event.data !== "string") return;
    event.stopImmediatePropagation();
    if (!event.data.startsWith("{")) return;
    const told = JSON.parse(event.data);
    if (told.line) socket.dispatchEvent(new CustomEvent("line", { detail: told.line }));
  });
  const timer = setInterval(() => {
    if (socket.readyState === WebSocket.OPEN) socket.send("ping");
  }, PING_SECONDS * 1000);
  socket.addEventListener("close", () => clearInterval(timer));
  return socket;
}

// Ask something of a serial line: {control: true} or {size: [columns, rows]}.
export function ask(socket, wish) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(wish));
}
