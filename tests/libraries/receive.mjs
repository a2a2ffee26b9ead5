// A receiver that verifies deliveries with a library: 204 where one fits, else 400 and why.
// Prints its address when it listens.
//
// node --input-type=module - LIBRARY SECRET < receive.mjs, in the folder of node_modules

import { createServer } from "node:http";
import { verify } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";

const [library, secret] = process.argv.slice(2);

const schemes = {
  standard(headers, body) {
    const webhook = new Webhook(secret, secret.startsWith("whsec_") ? {} : { format: "raw" });
    webhook.verify(body, headers);
  },
  stripe(headers, body) {
    new Stripe("sk_test_unused").webhooks.constructEvent(body, headers["stripe-signature"], secret);
  },
  async github(headers, body) {
    if (!(await verify(secret, body, headers["x-hub-signature-256"]))) {
      throw new Error("the signature does not fit");
    }
  },
};

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    await schemes[library](request.headers, Buffer.concat(chunks).toString("utf8"));
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(400).end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
