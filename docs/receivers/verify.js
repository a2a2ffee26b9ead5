// Verifies Waybill deliveries in Node (18 or later), using only its standard library.
//
// As a library:  const { verify } = require("./verify.js");
// As a program:  node verify.js SECRET HEADERS_FILE BODY_FILE   exits with 0 if the signature fits, otherwise with 1.
"use strict";

const { createHmac, timingSafeEqual } = require("node:crypto");

/** Largest difference between a delivery's timestamp and now, in seconds. */
const TOLERANCE = 300;

/** Returns the key of a secret: the base64-decoded part after `whsec_`, or the bytes of any other secret. */
function key(secret) {
  const prefix = "whsec_";
  return secret.startsWith(prefix)
    ? Buffer.from(secret.slice(prefix.length), "base64")
    : Buffer.from(secret, "utf8");
}

/** Compares in constant time. */
function same(one, other) {
  return one.length === other.length && timingSafeEqual(one, other);
}

/**
 * Throws an error unless the delivery is signed with the secret and its timestamp is recent.
 *
 * @param {string} secret the endpoint's secret
 * @param {Object<string, string>} headers the request's headers, with names in lower case, as Node provides them
 * @param {Buffer} body the raw body, before any JSON parser
 * @param {number} now Unix seconds
 * @returns {string} the delivery's id; answer an id that you have already handled with 200
 */
function verify(secret, headers, body, now = Math.floor(Date.now() / 1000)) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  const signatures = headers["webhook-signature"];
  if (!id || !timestamp || !signatures) throw new Error("a webhook- header is missing");
  if (!/^\d+$/.test(timestamp) || Math.abs(now - Number(timestamp)) > TOLERANCE) {
    throw new Error("the timestamp is too old, in the future, or not a number");
  }
  const expected = createHmac("sha256", key(secret))
    .update(`${id}.${timestamp}.`)
    .update(body)
    .digest();
  // While a secret is rotated, the list holds two signatures. One match is enough.
  const fits = signatures
    .split(" ")
    .filter((entry) => entry.startsWith("v1,"))
    .map((entry) => same(Buffer.from(entry.slice(3), "base64"), expected))
    .includes(true);
  if (!fits) throw new Error("no signature fits");
  return id;
}

/** Reads `Name: value` lines. */
function parseHeaders(text) {
  const headers = {};
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon > 0) headers[line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
  }
  return headers;
}

function main([secret, headersFile, bodyFile]) {
  const { readFileSync } = require("node:fs");
  if (!bodyFile) throw new Error("usage: node verify.js SECRET HEADERS_FILE BODY_FILE");
  const headers = parseHeaders(readFileSync(headersFile, "utf8"));
  console.log(`${verify(secret, headers, readFileSync(bodyFile))} fits`);
}

module.exports = { verify };

if (require.main === module) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
