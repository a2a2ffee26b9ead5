/**
 * The test stand-in: takes the place of the host in `node --test`.
 *
 * ```ts
 * const host = useHost({ config: { least: "100.00" } });
 * assert.deepEqual(filter(event("invoice.paid", { total: "99.99" })), drop("…"));
 * assert.equal(host.log[0]?.message, "…");
 * ```
 *
 * The limits of a server do not apply here. `waybill module run` runs the component itself.
 */

import type { Draft, Event } from "waybill:module/types@0.1.0";
import { json, parse } from "./body.ts";

export { Host, useHost } from "./fakes.ts";
export type { FakeRecord, LogLine } from "./fakes.ts";

/** Returns an event of a type with a payload. `more` sets other members. */
export function event(kind: string, payload: unknown, more: Partial<Event> = {}): Event {
  return {
    id: "evt_test", source: "test", kind, resource: null, subject: null,
    time: "2026-05-03T12:00:00.000Z", attempt: 1, changes: null, attributes: [],
    data: json(payload), ...more,
  };
}

/** Returns the payload of a draft, for comparison. */
export function payload(draft: Draft): any {
  return parse(draft.data);
}
