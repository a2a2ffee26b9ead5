/** Lines for the trace: one for each call, the values separated by spaces. */
declare var console: Record<
  "trace" | "debug" | "log" | "info" | "warn" | "error",
  (...values: unknown[]) => void
>;
