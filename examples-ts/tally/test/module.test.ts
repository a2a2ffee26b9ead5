import assert from "node:assert/strict";
import { test } from "node:test";
import { ModuleFailure } from "waybill";
import { event, payload, useHost } from "waybill/testing";
import { route, transform } from "../src/module.ts";

function payment(amount: string | number, more: object = {}) {
  const invoice = { clientid: "42", currency_name: "EUR" };
  return event("payment.created", { amount, date: "2026-05-03", invoice, ...more });
}

test("payments of a month are summed exactly", () => {
  const host = useHost();
  const totals = ["0.10", 0.2, "480.00"].map((one) => payload(transform(payment(one))[0]!));
  assert.deepEqual(totals.map((one) => one.total), ["0.10", "0.30", "480.30"]);
  assert.equal(totals[2].payments, 3);
  assert.equal(host.expiring.get("cents/42/2026-05/EUR"), 183 * 24 * 3600);
  assert.equal(host.counters.get("payments"), 3);
});

test("a refund lowers the total, and another month has its own", () => {
  useHost({ state: new Map([["cents/42/2026-05/EUR", 10_000]]) });
  const of = (one: ReturnType<typeof payment>) => payload(transform(one)[0]!).total;
  assert.equal(of(payment("-25.50")), "74.50");
  assert.equal(of(payment("5.00", { date: "2026-06-01" })), "5.00");
});

test("a threshold is told once, by the payment that reaches it", () => {
  useHost({ config: { thresholds: ["100.00", "500.00"], alerts: "sales", totals: "sheet" } });
  const told = ["60.00", "60.00", "500.00"].map((one) => {
    const [total] = transform(payment(one));
    const sent = route(event("client.month_total", payload(total!)));
    return sent.map((to) => to.dedupeKey ?? to.destination);
  });
  assert.deepEqual(told, [
    ["sheet"],
    ["sheet", "42/2026-05/EUR/100.00"],
    ["sheet", "42/2026-05/EUR/500.00"],
  ]);
});

test("a payment without a client is a failure with its place", () => {
  useHost();
  assert.throws(
    () => transform(payment("1.00", { invoice: {} })),
    (thrown: ModuleFailure) => {
      assert.deepEqual(thrown.payload, {
        tag: "permanent",
        val: {
          code: "no_client",
          message: "the payment's invoice has no client",
          pointer: "/invoice/clientid",
        },
      });
      return true;
    },
  );
  assert.throws(() => transform(payment("1.005")), /bad_payload: 1.005 is not an amount/);
});
