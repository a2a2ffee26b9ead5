// Keeps monthly totals of what each client paid, and tells when a total reaches a threshold.

import { amount, cents, config, counters, data, draft, permanent, state, to } from "waybill";
import type { Dispatch, Draft, Event } from "waybill";

/** What the module reads of a payment. */
interface Payment {
  amount: string | number;
  date: string;
  currency_name?: string;
  invoice?: { clientid?: string | number; currency_name?: string };
}

/** What it sends on in place of the payment. */
interface Total {
  client_id: string;
  month: string;
  currency: string;
  payments: number;
  added: string;
  total: string;
}

interface Settings {
  thresholds: string[];
  alerts?: string;
  totals?: string;
}

/** Totals are forgotten half a year after the last payment of their month. */
const KEPT_SECONDS = 183 * 24 * 3600;

export function transform(event: Event): Draft[] {
  const payment = data<Payment>(event);
  const client = payment.invoice?.clientid;
  if (client == null) {
    throw permanent("no_client", "the payment's invoice has no client", "/invoice/clientid");
  }
  const added = cents(payment.amount, "/amount");
  const month = payment.date.slice(0, 7);
  const currency = payment.currency_name ?? payment.invoice?.currency_name ?? "";
  const key = `${client}/${month}/${currency}`;
  const total: Total = {
    client_id: String(client),
    month,
    currency,
    payments: count(`payments/${key}`, 1),
    added: amount(added),
    total: amount(count(`cents/${key}`, added)),
  };
  counters.add("payments", 1);
  console.log(`client ${client} paid`, total.total, currency, "in", month);
  return [draft(total, { kind: "client.month_total", subject: total.client_id })];
}

function count(key: string, by: number): number {
  const sum = state.increment(key, by);
  state.expire(key, KEPT_SECONDS);
  return sum;
}

export function route(event: Event): Dispatch[] {
  const total = data<Total>(event);
  const { thresholds, alerts, totals } = config.all<Settings>();
  const after = cents(total.total);
  const before = after - cents(total.added);
  const reached = thresholds.filter((one) => before < cents(one) && cents(one) <= after);
  const dispatches: Dispatch[] = [];
  if (totals !== undefined) dispatches.push(to(totals, { orderingKey: total.client_id }));
  if (alerts !== undefined) {
    for (const threshold of reached) {
      const dedupeKey = [total.client_id, total.month, total.currency, threshold].join("/");
      dispatches.push(to(alerts, { dedupeKey, data: { ...total, reached: threshold } }));
    }
  }
  return dispatches;
}
