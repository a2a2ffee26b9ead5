/** What the host's functions do in native tests. Every capability is granted. */

/// <reference path="./host.d.ts" />

import { createHmac, timingSafeEqual } from "node:crypto";

import type { Request, Response } from "waybill:module/http-types@0.1.0";
import type { Level } from "waybill:module/log@0.1.0";
import type { Fact } from "waybill:module/types@0.1.0";
import { permanent, retryable } from "./failure.ts";

/** A line that the module wrote. */
export interface LogLine {
  level: Level;
  message: string;
  fields: Record<string, string>;
}

/** A record that a look-up can find. */
export interface FakeRecord {
  source: string;
  resource: string;
  id: string;
  data: Record<string, unknown>;
}

/** The contents of the stand-in, and what the module did. */
export class Host {
  config: Record<string, unknown> = {};
  log: LogLine[] = [];
  /** The keys of `state` with their values. */
  state: Map<string, unknown> = new Map();
  /** The keys that expire, and after how many seconds. */
  expiring: Map<string, number> = new Map();
  records: FakeRecord[] = [];
  /** Answers requests. Without it the network is down. */
  answer?: (request: Request) => Response;
  /** Secrets by name, for HMACs. */
  secrets: Record<string, string> = {};
  events: Fact[] = [];
  cancelled: string[] = [];
  counters: Map<string, number> = new Map();
}

let current = new Host();

/** Replaces the stand-in by a new one with these contents, and returns it. */
export function useHost(contents: Partial<Host> = {}): Host {
  current = Object.assign(new Host(), contents);
  return current;
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function find(source: string, resource: string): FakeRecord[] {
  return current.records.filter((one) => one.source === source && one.resource === resource);
}

function found(one: FakeRecord) {
  return { id: one.id, updatedAt: "2026-05-03T12:00:00.000Z", data: JSON.stringify(one.data) };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

const state: typeof import("waybill:module/state@0.1.0") = {
  get: (key) => (current.state.has(key) ? JSON.stringify(current.state.get(key)) : null),
  set(key, value) {
    current.state.set(key, JSON.parse(value));
    current.expiring.delete(key);
  },
  swap(key, expected, value) {
    if ((state.get(key) ?? null) !== (expected ?? null)) return false;
    state.set(key, value);
    return true;
  },
  increment(key, by) {
    const held = current.state.get(key) ?? 0;
    if (!isWhole(held) || !isWhole(by) || !isWhole(held + by)) {
      throw permanent("invalid", `\`${key}\` and what is added are not whole numbers`);
    }
    current.state.set(key, held + by);
    return held + by;
  },
  expire(key, seconds) {
    if (!current.state.has(key)) return false;
    current.expiring.set(key, seconds);
    return true;
  },
  remove: (key) => void current.state.delete(key),
};

const secrets: typeof import("waybill:module/secrets@0.1.0") = {
  hmac(secret, hash, message, encoding) {
    const key = current.secrets[secret];
    if (key === undefined) throw permanent("unknown_secret", `there is no secret \`${secret}\``);
    const sum = createHmac(hash, key).update(message.val);
    return sum.digest(encoding === "base64-url" ? "base64url" : encoding);
  },
  verify(secret, hash, message, encoding, hmac) {
    const [own, given] = [secrets.hmac(secret, hash, message, encoding), hmac].map((one) => Buffer.from(one));
    return own!.length === given!.length && timingSafeEqual(own!, given!);
  },
};

/** The stand-ins by interface. */
export const fakes = {
  config: {
    get: (key) => (current.config[key] == null ? null : text(current.config[key])),
    all: () => JSON.stringify(current.config),
  } satisfies typeof import("waybill:module/config@0.1.0"),
  log: {
    write: (level, message, fields) =>
      void current.log.push({ level, message, fields: Object.fromEntries(fields) }),
  } satisfies typeof import("waybill:module/log@0.1.0"),
  state,
  records: {
    get(source, resource, id) {
      const one = find(source, resource).find((record) => record.id === id);
      return one === undefined ? null : found(one);
    },
    find: (source, resource, field, value, limit) =>
      find(source, resource).filter((one) => text(one.data[field]) === value).slice(0, limit).map(found),
  } satisfies typeof import("waybill:module/records@0.1.0"),
  http: {
    send(request) {
      if (current.answer === undefined) throw retryable("unreachable", "the stand-in has no `answer`");
      return current.answer(request);
    },
  } satisfies typeof import("waybill:module/http@0.1.0"),
  secrets,
  emit: {
    event(fact) {
      current.events.push(fact);
      return `evt_test_${current.events.length}`;
    },
  } satisfies typeof import("waybill:module/emit@0.1.0"),
  deliveries: {
    cancel: (key) => void current.cancelled.push(key),
  } satisfies typeof import("waybill:module/deliveries@0.1.0"),
  counters: {
    add: (name, by) => void current.counters.set(name, (current.counters.get(name) ?? 0) + by),
  } satisfies typeof import("waybill:module/counters@0.1.0"),
};
