import { config, counters, data, deliveries, drop, emit, http, json, parse, records, secrets, state } from "waybill";
import type { Event } from "waybill";
export function filter(event: Event) {
  const out: unknown[] = [];
  if (data(event).bad) http.send({ method: "GET", url: "https://bad", headers: [], secrets: [] });
  out.push(state.get("k")); state.set("k", { é: 1.5 }); out.push(state.swap("k", undefined, 2), state.swap("k", { a: 1 }, 2), state.increment("n", 2), state.expire("k", 5)); state.remove("k");
  out.push(records.get("crm", "lead", "7"), records.find("crm", "lead", "email", "x", 3));
  const a = http.send({ method: "POST", url: "https://x", headers: [["h", "v"]], secrets: ["s"], body: json({ q: 1 }) });
  out.push(a.status, a.headers, parse(a.body));
  out.push(secrets.hmac("s", "sha256", { tag: "text", val: "m" }, "base64-url"), secrets.verify("s", "sha512", { tag: "bytes", val: new Uint8Array([1]) }, "hex", "abc"));
  out.push(emit.event("lead.scored", { s: 1 }, { key: "k", changes: { changed: ["a"], previous: "{}" }, attributes: { x: "y" } }));
  deliveries.cancel("c"); counters.add("n", 1);
  return drop(JSON.stringify(out));
}
