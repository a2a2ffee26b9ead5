/** Wraps the functions of a module as the interfaces of a component. */

/// <reference path="./host.d.ts" />

import * as log from "waybill:module/log@0.1.0";
import type { Event, Failure } from "waybill:module/types@0.1.0";
import { format } from "./format.ts";

/**
 * Where the lines of the bundle come from. `lines` has for each line a list of columns, each with the
 * index of a file and the line there. The build puts it here.
 */
declare const WAYBILL_LINES: { files: string[]; lines: number[][] };

const LEVELS = {
  trace: "trace", debug: "debug", log: "info", info: "info", warn: "warn", error: "error",
} as const;

/** QuickJS has no console. This one writes to the trace. */
const console: Record<string, (...values: unknown[]) => void> = {};
for (const [name, level] of Object.entries(LEVELS)) {
  console[name] = (...values) => log.write(level, values.map(format).join(" "), []);
}
(globalThis as any).console = console;

/** The event for which `Math.random` was seeded, and the state of its generator. */
const random = { event: "", state: 0 };

/**
 * A component is a snapshot of a started interpreter, so QuickJS' own numbers are the same for every
 * event. These (mulberry32) derive from the event's id, so a retry sees the same ones.
 */
Math.random = () => {
  random.state = (random.state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(random.state ^ (random.state >>> 15), random.state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

function seed(event: string): void {
  if (event === random.event) return;
  random.event = event;
  random.state = 0x811c9dc5 | 0;
  for (let n = 0; n < event.length; n++) {
    random.state = Math.imul(random.state ^ event.charCodeAt(n), 0x01000193);
  }
}

/** Returns the function of a role with its exceptions explained. */
export function role<R>(work: (event: Event) => R): (event: Event) => R {
  return (event) => {
    let answer: R;
    try {
      seed(event.id);
      answer = work(event);
    } catch (thrown) {
      throw failure(thrown);
    }
    // A promise would be returned as a value of the wrong shape.
    if (typeof (answer as any)?.then === "function") {
      throw exception("TypeError: the function is async, a module's functions are not", "");
    }
    return answer;
  };
}

function failure(thrown: any): Failure {
  const tag = thrown?.payload?.tag;
  if (tag === "permanent" || tag === "retryable") return thrown.payload;
  if (thrown instanceof Error) {
    return exception(`${thrown.name}: ${thrown.message}`, thrown.stack ?? "");
  }
  return exception(`thrown: ${format(thrown)}`, "");
}

/** The host treats this code as it treats a panic in Rust: reason `module_trap`. */
function exception(message: string, stack: string): Failure {
  const places = stack.split("\n").map(place).filter((found) => found !== undefined);
  const [first, ...callers] = places;
  if (callers.length > 0) {
    log.write("error", message, [["stack", places.join(" < ")]]);
  }
  const where = first === undefined ? "" : ` (${first})`;
  return { tag: "permanent", val: { code: "exception", message: message + where } };
}

/** Returns the author's file and line for a line of a stack, and the function's name. */
function place(frame: string): string | undefined {
  const [, line, column] = /:(\d+):(\d+)\)?$/.exec(frame.trim()) ?? [];
  if (line === undefined) return undefined;
  const segments = WAYBILL_LINES.lines[Number(line) - 1] ?? [];
  let [, file, at] = segments;
  for (let n = 3; n < segments.length && segments[n]! < Number(column); n += 3) {
    [file, at] = [segments[n + 1], segments[n + 2]];
  }
  const path = WAYBILL_LINES.files[file ?? -1];
  if (path === undefined) return undefined;
  const name = /at (\S+) \(/.exec(frame)?.[1];
  return `${path}:${at}${name === undefined || name.startsWith("<") ? "" : ` in ${name}`}`;
}
