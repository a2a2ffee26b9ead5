// The systems around the server: receivers of webhooks that can be broken and mended, and a mailbox.

import { createServer as createHttp } from "node:http";
import { createServer as createTcp } from "node:net";

/// Resolves with the port of a server that listens on loopback alone.
const listen = (server) => new Promise((resolve, reject) => {
  server.once("error", reject);
  server.listen(0, "127.0.0.1", () => resolve(server.address().port));
});

/// Resolves once `find` returns something. It is asked again whenever something arrives.
class Arrivals {
  #all = [];
  #waiting = new Set();

  add(arrival) {
    this.#all.push(arrival);
    for (const ask of this.#waiting) ask();
  }

  count(fits) {
    return this.#all.filter(fits).length;
  }

  /// Returns the first arrival that fits. It fails after 20 seconds, with what did arrive.
  wait(what, fits) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(ask);
        reject(new Error(`${what} did not arrive within 20 s; arrived: ${JSON.stringify(this.#all).slice(0, 2000)}`));
      }, 20_000);
      const ask = () => {
        const found = this.#all.find(fits);
        if (found === undefined) return;
        clearTimeout(timer);
        this.#waiting.delete(ask);
        resolve(found);
      };
      this.#waiting.add(ask);
      ask();
    });
  }
}

/// A receiver of webhooks. `broken` holds the paths that are answered with 503.
export const startReceiver = async () => {
  const arrivals = new Arrivals();
  const broken = new Set();
  const server = createHttp((request, answer) => {
    let body = "";
    request.on("data", (part) => { body += part; });
    request.on("end", () => {
      const fails = broken.has(request.url);
      answer.writeHead(fails ? 503 : 200, { "content-type": "text/plain" });
      answer.end(fails ? "the ledger is closed for maintenance" : "ok");
      arrivals.add({ path: request.url, body, fails });
    });
  });
  const port = await listen(server);
  return { arrivals, broken, address: `http://127.0.0.1:${port}`, close: () => server.close() };
};

/// A mailbox: as much of SMTP as a sender of one message needs. An arrival is the text of a message.
export const startMailbox = async () => {
  const arrivals = new Arrivals();
  const server = createTcp((socket) => {
    let message = null;
    let rest = "";
    const say = (line) => socket.write(`${line}\r\n`);
    const take = (line) => {
      if (message !== null) {
        if (line === ".") {
          arrivals.add(message.join("\n"));
          message = null;
          say("250 taken");
        } else message.push(line);
      } else if (/^EHLO/i.test(line)) say("250-mailbox\r\n250 8BITMIME");
      else if (/^DATA/i.test(line)) {
        message = [];
        say("354 go on");
      } else if (/^QUIT/i.test(line)) {
        say("221 bye");
        socket.end();
      } else say("250 ok");
    };
    socket.on("error", () => {});
    socket.on("data", (part) => {
      const lines = (rest + part).split("\r\n");
      rest = lines.pop();
      lines.forEach(take);
    });
    say("220 mailbox");
  });
  const port = await listen(server);
  return { arrivals, address: `smtp://127.0.0.1:${port}`, close: () => server.close() };
};
