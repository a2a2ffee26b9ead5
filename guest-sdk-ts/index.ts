/**
 * The Waybill SDK for modules in TypeScript.
 *
 * A module exports functions named after its roles: `filter`, `transform` and `route`, any of them.
 * `waybill module build` compiles them to a component. See docs/modules.md.
 */

/// <reference path="./host.d.ts" />

import type { Verdict } from "waybill:module/filter@0.1.0";
import type { Dispatch } from "waybill:module/route@0.1.0";
import type { Draft, Event, Fact, Header } from "waybill:module/types@0.1.0";
import * as hostConfig from "waybill:module/config@0.1.0";
import * as hostLog from "waybill:module/log@0.1.0";
import * as hostRecords from "waybill:module/records@0.1.0";
import * as hostState from "waybill:module/state@0.1.0";
import * as hostEmit from "waybill:module/emit@0.1.0";
import { json, parse } from "./body.ts";
import { permanent } from "./failure.ts";

export * as counters from "waybill:module/counters@0.1.0";
export * as deliveries from "waybill:module/deliveries@0.1.0";
export * as http from "waybill:module/http@0.1.0";
export * as secrets from "waybill:module/secrets@0.1.0";
export { json, parse } from "./body.ts";
export { ModuleFailure, permanent, retryable } from "./failure.ts";
export type { Verdict } from "waybill:module/filter@0.1.0";
export type { Request, Response } from "waybill:module/http-types@0.1.0";
export type { Dispatch } from "waybill:module/route@0.1.0";
export type {
  Body, Changes, Draft, Event, Fact, Failure, Header, Reason,
} from "waybill:module/types@0.1.0";

/** Lets the event go on. */
export const keep: Verdict = { tag: "keep" };

/** Ends the event here. The trace shows the reason. */
export function drop(reason: string): Verdict {
  return { tag: "drop", val: reason };
}

/** Returns the payload of an event. Name only the fields that you use in `T`. */
export function data<T = any>(event: Event): T {
  return parse<T>(event.data);
}

/** Returns an attribute of an event. */
export function attribute(event: Event, name: string): string | undefined {
  return event.attributes.find(([key]) => key === name)?.[1];
}

type Attributes = Record<string, string>;

function pairs(attributes: Attributes = {}): Header[] {
  return Object.entries(attributes);
}

/** Makes a draft: an event in the place of the one that the module was given. */
export function draft(
  value: unknown,
  more: { kind?: string; subject?: string; attributes?: Attributes } = {},
): Draft {
  const { kind, subject, attributes } = more;
  return { kind, subject, attributes: pairs(attributes), data: json(value) };
}

/** Makes a delivery to an endpoint of the flow. */
export function to(
  destination: string,
  more: {
    operation?: string;
    dedupeKey?: string;
    orderingKey?: string;
    cancelKey?: string;
    delaySeconds?: number;
    attributes?: Attributes;
    /** A payload for this delivery only. */
    data?: unknown;
  } = {},
): Dispatch {
  const { attributes, data, delaySeconds = 0, ...keys } = more;
  const own = data === undefined ? undefined : json(data);
  return { destination, ...keys, delaySeconds, attributes: pairs(attributes), data: own };
}

/** The configuration that the flow gives the module. */
export const config = {
  /** The value of a key as text. */
  get: (key: string): string | undefined => hostConfig.get(key) ?? undefined,
  /** The whole configuration. With a schema in the manifest it fits that schema. */
  all: <T = Record<string, any>>(): T => JSON.parse(hostConfig.all()),
  /** The value of a key. Throws the permanent failure `config_missing` if it is not set. */
  require<T = any>(key: string): T {
    const value = config.all()[key];
    if (value == null) throw permanent("config_missing", `the configuration has no \`${key}\``);
    return value;
  },
};

type Fields = Record<string, unknown>;

function write(level: hostLog.Level) {
  return (message: string, fields: Fields = {}): void => {
    const texts = Object.entries(fields).map(([name, value]): Header => [name, text(value)]);
    hostLog.write(level, message, texts);
  };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
}

/** Lines with fields for the event's trace. `console` writes lines without fields. */
export const log = {
  trace: write("trace"),
  debug: write("debug"),
  info: write("info"),
  warn: write("warn"),
  error: write("error"),
};

/** Memory between events. Values are JSON. */
export const state = {
  get<T = any>(key: string): T | undefined {
    const held = hostState.get(key);
    return held == null ? undefined : JSON.parse(held);
  },
  set: (key: string, value: unknown): void => hostState.set(key, JSON.stringify(value)),
  /** Sets a key only if it has the expected value. `undefined` expects no value. */
  swap(key: string, expected: unknown, value: unknown): boolean {
    const before = expected === undefined ? undefined : JSON.stringify(expected);
    return hostState.swap(key, before, JSON.stringify(value));
  },
  /** Adds to a whole number, from 0 if there is none, and returns the sum. */
  increment: (key: string, by = 1): number => hostState.increment(key, by),
  expire: (key: string, seconds: number): boolean => hostState.expire(key, seconds),
  remove: (key: string): void => hostState.remove(key),
};

/** A record that Waybill stores for a source. */
export interface StoredRecord<T> {
  id: string;
  updatedAt: string;
  data: T;
}

function stored<T>(found: hostRecords.Found): StoredRecord<T> {
  return { id: found.id, updatedAt: found.updatedAt, data: JSON.parse(found.data) };
}

/** Look-ups in the records that Waybill stores for its sources. */
export const records = {
  get<T = any>(source: string, resource: string, id: string): StoredRecord<T> | undefined {
    const found = hostRecords.get(source, resource, id);
    return found == null ? undefined : stored<T>(found);
  },
  find<T = any>(
    source: string, resource: string, field: string, value: string, limit = 1,
  ): StoredRecord<T>[] {
    return hostRecords.find(source, resource, field, value, limit).map((found) => stored<T>(found));
  },
};

/** Events for other flows. */
export const emit = {
  /** Creates an event and returns its id. */
  event(
    kind: string,
    value: unknown,
    more: Partial<Omit<Fact, "kind" | "data" | "attributes">> & { attributes?: Attributes } = {},
  ): string {
    const { attributes, ...rest } = more;
    return hostEmit.event({ kind, ...rest, attributes: pairs(attributes), data: json(value) });
  },
};

/**
 * Reads an amount with at most two decimals, such as `"100.00"` or `99.9`, as cents. Sums of cents
 * are exact; sums of decimals in JavaScript are not. Throws the permanent failure `bad_payload`.
 */
export function cents(amount: string | number, pointer?: string): number {
  const found = /^(-?)(\d{1,13})(?:\.(\d{1,2})0*)?$/.exec(String(amount).trim());
  if (found === null) {
    throw permanent("bad_payload", `${text(amount)} is not an amount with two decimals`, pointer);
  }
  const [, sign, whole, part = ""] = found;
  const value = Number(whole) * 100 + Number(part.padEnd(2, "0"));
  return sign === "-" && value !== 0 ? -value : value;
}

/** Writes cents as an amount, such as `"100.00"`. */
export function amount(value: number): string {
  const digits = String(Math.abs(value)).padStart(3, "0");
  return `${value < 0 ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}
