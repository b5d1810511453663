// A WebSocket to a console. Binary messages are the console's; text messages keep the line open and stay here.

const PING_SECONDS = 20;

export function line(path, ticket) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("ticket", ticket);
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  // First listener of all: nobody after it sees a text message.
  socket.addEventListener("message", (event) => {
    if (typeof event.data === "string") event.stopImmediatePropagation();
  });
  const timer = setInterval(() => {
    if (socket.readyState === WebSocket.OPEN) socket.send("ping");
  }, PING_SECONDS * 1000);
  socket.addEventListener("close", () => clearInterval(timer));
  return socket;
}
