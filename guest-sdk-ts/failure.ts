/// <reference path="./host.d.ts" />

import type { Failure } from "waybill:module/types@0.1.0";

/** A failure of a role. What the host's functions throw has the same `payload`. */
export class ModuleFailure extends Error {
  readonly payload: Failure;

  constructor(payload: Failure) {
    const reason = payload.tag === "permanent" ? payload.val : payload.val.reason;
    super(`${reason.code}: ${reason.message}`);
    this.name = "ModuleFailure";
    this.payload = payload;
  }
}

/** Makes a failure that would repeat: the event becomes a dead letter. `throw` it. */
export function permanent(code: string, message: string, pointer?: string): ModuleFailure {
  return new ModuleFailure({ tag: "permanent", val: { code, message, pointer } });
}

/** Makes a failure that may pass: the event is planned again. `throw` it. */
export function retryable(
  code: string,
  message: string,
  more: { afterSeconds?: number; pointer?: string } = {},
): ModuleFailure {
  const reason = { code, message, pointer: more.pointer };
  return new ModuleFailure({ tag: "retryable", val: { reason, afterSeconds: more.afterSeconds } });
}
