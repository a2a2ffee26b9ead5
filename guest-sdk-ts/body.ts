/// <reference path="./host.d.ts" />

import type { Body } from "waybill:module/types@0.1.0";
import { permanent } from "./failure.ts";

/** Returns a body that holds a value as JSON. */
export function json(value: unknown): Body {
  return { tag: "json", val: JSON.stringify(value) ?? "null" };
}

/** Returns the value of a body. Throws the permanent failure `bad_payload` if it is not JSON. */
export function parse<T = any>(body: Body): T {
  if (body.tag !== "json") throw permanent("bad_payload", `the payload is ${body.tag}, not JSON`);
  return JSON.parse(body.val);
}
