// Signs a webhook with a library and posts it to a source, then another body under the same
// signature. Prints the two statuses.
//
// node --input-type=module - LIBRARY SECRET URL BODY < send.mjs, in the folder of node_modules

import { randomUUID } from "node:crypto";
import { sign } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";

const [library, secret, url, body] = process.argv.slice(2);

const schemes = {
  standard() {
    const webhook = new Webhook(secret, secret.startsWith("whsec_") ? {} : { format: "raw" });
    const [id, now] = [`msg_${randomUUID()}`, new Date()];
    return {
      "webhook-id": id,
      "webhook-timestamp": String(Math.floor(now / 1000)),
      "webhook-signature": webhook.sign(id, now, body),
    };
  },
  stripe() {
    const { webhooks } = new Stripe("sk_test_unused");
    return { "stripe-signature": webhooks.generateTestHeaderString({ payload: body, secret }) };
  },
  async github() {
    return { "x-github-event": "issues", "x-hub-signature-256": await sign(secret, body) };
  },
};

const headers = { "content-type": "application/json", ...(await schemes[library]()) };
const post = async (body) => (await fetch(url, { method: "POST", headers, body })).status;
console.log(await post(body), await post(`${body} `));
