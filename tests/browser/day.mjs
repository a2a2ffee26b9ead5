// An operator's day on the real pages in a real browser. `cargo xtask pages` starts the server and
// this program; the environment says where everything is. Any failed step, any violation that
// axe-core finds and any page that scrolls sideways ends it with status 1.

import { createHmac, randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Looker } from "./look.mjs";
import { Keyboard } from "./keyboard.mjs";
import { startMailbox, startReceiver } from "./receivers.mjs";

const { WAYBILL_URL, WAYBILL_TOKEN, WAYBILL_GUESTS, WAYBILL_PICTURES, WAYBILL_CHROMIUM } = process.env;

/// How long a page may take to show what is waited for, in milliseconds.
const PATIENCE = 20_000;

/// Dead letters that the broken receiver makes.
const FAILED = 6;

const BROWSER = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const began = Date.now();
const tell = (sentence) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${sentence}`);
const check = (holds, sentence) => {
  if (!holds) throw new Error(`not so: ${sentence}`);
};

/// A person at a browser.
class Operator {
  constructor(page, looker) {
    this.page = page;
    this.looker = looker;
    page.setDefaultTimeout(PATIENCE);
    // A script or style that the page's own policy refuses is a fault of the page.
    page.on("console", (message) => {
      const isFault = message.type() === "error" && !/status of 4\d\d/.test(message.text());
      if (isFault) looker.problems.push(`the browser says at ${page.url()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => looker.problems.push(`a script fails at ${page.url()}: ${error}`));
  }

  async open(path) {
    const answer = await this.page.goto(`${WAYBILL_URL}${path}`);
    return answer.status();
  }

  async look(name) {
    await this.looker.look(this.page, name);
  }

  async openAndLook(path, name) {
    check(await this.open(path) === 200, `${path} is answered with 200`);
    await this.look(name);
  }

  async signIn(token) {
    await this.open("/admin/sign-in");
    await this.page.getByLabel("Access token").fill(token);
    await this.press("Sign in");
  }

  /// Presses a button of the page and waits for what comes next.
  async press(name, within = this.page.locator("main")) {
    await Promise.all([
      this.page.waitForEvent("load"),
      within.getByRole("button", { name, exact: true }).first().click(),
    ]);
  }

  /// Opens a question and answers it with the button in it.
  async confirm(question, answer, within = this.page.locator("main")) {
    const asked = within.locator("details.ask").filter({ has: this.page.locator("summary", { hasText: question }) }).first();
    await asked.locator("summary").click();
    await this.press(answer, asked);
  }

  field(name) {
    return this.page.locator(`main [name="${name}"]:not([type=hidden])`);
  }

  async fill(fields) {
    for (const [name, text] of Object.entries(fields)) {
      const field = this.field(name);
      // Settings that are rarely needed are folded away.
      for (const folded of await this.page.locator("main details:not([open])", { has: this.page.locator(`[name="${name}"]`) }).all()) {
        await folded.locator("> summary").click();
      }
      if (await field.evaluate((element) => element.tagName) === "SELECT") await field.selectOption(text);
      else await field.fill(text);
    }
  }

  async shows(text) {
    await this.page.getByText(text).filter({ visible: true }).first().waitFor();
  }

  async heading() {
    return (await this.page.locator("h1").textContent()).trim();
  }
}

/// Signs and sends an event as the CRM would (Standard Webhooks).
const sendFromCrm = async (source, id, total = "480.00") => {
  const body = JSON.stringify({
    type: "invoice.created",
    timestamp: new Date().toISOString(),
    data: {
      id: String(id), clientid: "42", formatted_number: `INV-${String(id).padStart(6, "0")}`,
      date: "2026-04-20", currency_name: "EUR", status: "1", subtotal: "400.00", total_tax: "80.00",
      total, discount_total: "0.00", adjustment: "0.00",
      // What a customer types is shown as text.
      note: "<script>document.title = 'hacked'</script><b>bold</b>",
    },
  });
  const [message, seconds] = [`msg_${randomUUID()}`, String(Math.floor(Date.now() / 1000))];
  const key = Buffer.from(source.secret.replace("whsec_", ""), "base64");
  const signature = createHmac("sha256", key).update(`${message}.${seconds}.${body}`).digest("base64");
  const answer = await fetch(`${WAYBILL_URL}/in/${source.name}`, {
    method: "POST",
    headers: {
      "content-type": "application/json", "webhook-id": message, "webhook-timestamp": seconds,
      "webhook-signature": `v1,${signature}`,
    },
    body,
  });
  check(answer.ok, `the event is taken, not ${answer.status} ${await answer.text()}`);
};

/// Pages before there is anything on them.
const lookAtNothing = async (operator) => {
  await operator.openAndLook("/admin", "overview-empty");
  for (const part of ["events", "alerts", "dead-letters", "sources", "flows", "modules", "endpoints"]) {
    await operator.openAndLook(`/admin/${part}`, `${part}-empty`);
  }
};

const makeSource = async (operator) => {
  await operator.openAndLook("/admin/sources/new", "source-kinds");
  await Promise.all([
    operator.page.waitForEvent("load"),
    operator.page.locator("main").getByRole("link", { name: "Webhooks", exact: true }).click(),
  ]);
  await operator.look("source-form");
  await operator.fill({ "name": "crm", "webhook.scheme": "standard" });
  await operator.press("Create source");
  await operator.look("source-secret");
  const secret = (await operator.page.locator("main pre").first().textContent()).trim();
  return { name: "crm", secret };
};

/// Makes an endpoint of a kind.
const makeEndpoint = async (operator, kind, fields) => {
  await operator.open(`/admin/endpoints/new?kind=${kind}`);
  await operator.fill(fields);
  await operator.press("Create endpoint");
};

const makeEndpoints = async (operator, receiver, mailbox) => {
  await operator.openAndLook("/admin/endpoints/new", "endpoint-kinds");
  await operator.openAndLook("/admin/endpoints/new?kind=webhook", "endpoint-form");
  await operator.fill({ name: "erp", url: "nowhere", "retry.schedule": "soon" });
  await operator.press("Create endpoint");
  await operator.look("endpoint-errors");
  await operator.fill({ url: `${receiver.address}/erp`, "retry.schedule": "50ms" });
  await operator.press("Create endpoint");
  const notices = "waybill.alert.*";
  await makeEndpoint(operator, "slack", { name: "ops", url: `${receiver.address}/slack`, events: notices });
  await operator.openAndLook("/admin/endpoints/new?kind=email", "endpoint-form-email");
  await makeEndpoint(operator, "email", {
    name: "team", url: mailbox.address, events: notices, "settings.from": "Waybill <waybill@books.example>",
    "settings.to": "team@books.example", "settings.tls": "none",
  });
  await operator.openAndLook("/admin/endpoints/erp", "endpoint-new");
};

const uploadModule = async (operator, file, activate) => {
  const name = operator.field("name");
  if (await name.count() > 0) await name.fill("ledger");
  await operator.field("component").setInputFiles(file);
  if (activate) await operator.field("activate").check();
  await operator.press("Upload");
};

const makeFlow = async (operator) => {
  await operator.openAndLook("/admin/flows/new", "flow-form");
  await operator.fill({ "name": "books", "events": "invoice.*", "modules[0].name": "ledger" });
  for (const [name, value] of [["sources", "crm"], ["endpoints", "erp"]]) {
    await operator.page.locator(`main [name="${name}"][value="${value}"]`).check();
  }
  await operator.press("Create flow");
  await operator.look("flow");
};

/// Events arrive on pages that are already open.
const watchArrivals = async (operator, source, receiver) => {
  await operator.open("/admin/events");
  await sendFromCrm(source, 1);
  await receiver.arrivals.wait("the first event at the ERP", ({ path }) => path === "/erp");
  await operator.open("/admin/events");
  await operator.shows("Delivered");
  await sendFromCrm(source, 2);
  await operator.shows("1 new. Show it");
  await operator.look("events-news");
  await Promise.all([
    operator.page.waitForEvent("load"),
    operator.page.getByRole("link", { name: "1 new. Show it" }).click(),
  ]);
  check(await operator.page.locator("[data-row]").count() === 2, "both events are in the list");
  await operator.page.locator("[data-row] a").first().click();
  await operator.page.waitForURL("**/admin/events/evt_*");
  await operator.shows("Delivered");
  check(!/hacked/.test(await operator.page.title()), "a payload's script does not run");
  await operator.look("event");
  const tabs = await operator.page.locator("main .wf a.lab, main .tabs a").evaluateAll((all) => all.map((one) => one.href));
  for (const [n, address] of [...new Set(tabs)].entries()) {
    check((await operator.page.goto(address)).status() === 200, `${address} is answered with 200`);
    await operator.look(`event-part-${n + 1}`);
  }
};

/// The receiver breaks. The operator learns it from the overview, from Slack and by mail.
const breakReceiver = async (operator, source, receiver, mailbox) => {
  await operator.open("/admin");
  const calm = await operator.heading();
  check(calm === "Nothing needs attention", `the overview is calm, not "${calm}"`);
  await operator.look("overview-calm");
  receiver.broken.add("/erp");
  for (let id = 10; id < 10 + FAILED; id += 1) await sendFromCrm(source, id);
  // The page is not loaded again: it follows by itself.
  await operator.shows("needs attention");
  await operator.shows("6 dead letters");
  await receiver.arrivals.wait("the notice in Slack", ({ path, body }) => path === "/slack" && /erp/.test(body));
  await mailbox.arrivals.wait("the notice by mail", (message) => /waybill\.alert\.firing/.test(message));
  await waitForDead(operator, FAILED);
  await operator.openAndLook("/admin", "overview-trouble");
  await operator.openAndLook("/admin/alerts", "alerts-firing");
  await operator.openAndLook("/admin/endpoints/erp", "endpoint-failing");
  await operator.openAndLook("/admin/endpoints", "endpoints");
};

/// Waits until the navigation of an open page counts so many dead letters.
const waitForDead = async (operator, count) => {
  await operator.open("/admin/dead-letters");
  const counted = operator.page.locator(".side .nav a[href='/admin/dead-letters'] .n");
  await counted.filter({ hasText: String(count) }).waitFor();
};

/// The operator finds the cause, mends the receiver, and sends again what failed.
const mendAndReplay = async (operator, receiver) => {
  await operator.openAndLook("/admin/dead-letters", "dead-letters");
  await Promise.all([
    operator.page.waitForEvent("load"),
    operator.page.locator("main a[href^='/admin/dead-letters/']").first().click(),
  ]);
  await operator.look("dead-letter");
  await operator.page.getByRole("link", { name: "Headers and answers" }).click();
  await operator.shows("the ledger is closed for maintenance");
  await operator.look("event-failed");
  receiver.broken.delete("/erp");
  await operator.open("/admin/endpoints/erp");
  await operator.press("Send a test");
  await operator.shows("The test was answered 200");
  await operator.look("endpoint-tested");
  const before = receiver.arrivals.count(({ path, fails }) => path === "/erp" && !fails);
  await operator.openAndLook("/admin/dead-letters?endpoint=erp", "dead-letters-preview");
  await operator.field("per_second").fill("2");
  await operator.press(`Replay ${FAILED}`);
  await operator.look("dead-letters-running");
  await operator.shows("The replay has ended");
  await operator.page.getByText("Replaying").filter({ visible: true }).waitFor({ state: "detached" });
  await operator.look("dead-letters-ended");
  const sent = receiver.arrivals.count(({ path, fails }) => path === "/erp" && !fails) - before;
  check(sent === FAILED, `${FAILED} were on the button and ${sent} were sent`);
  await receiver.arrivals.wait("the end of the alert in Slack", ({ path, body }) => path === "/slack" && /resolved/.test(body));
  await operator.open("/admin");
  await operator.shows("Nothing needs attention");
  await operator.openAndLook("/admin/alerts", "alerts-resolved");
};

/// A new version of the module fails, so the old one is made active again.
const rollBack = async (operator, source, receiver, wrong) => {
  await operator.openAndLook("/admin/modules/ledger", "module");
  await uploadModule(operator, wrong, false);
  await operator.look("module-uploaded");
  await operator.page.locator("main details.ask summary", { hasText: "Activate" }).first().click();
  await operator.look("module-question");
  await operator.press("Activate it");
  await operator.shows("v2 is active");
  await sendFromCrm(source, 30);
  await waitForDead(operator, 1);
  await operator.openAndLook("/admin/dead-letters", "dead-letters-module");
  await operator.open("/admin/modules/ledger");
  await operator.confirm("Roll back", "Roll back to v1");
  await operator.shows("v1 is active");
  await operator.look("module-back");
  await operator.open("/admin/dead-letters");
  await operator.press("Replay 1");
  await operator.shows("The replay has ended");
  await receiver.arrivals.wait("the event that the wrong version stopped",
    ({ path, body, fails }) => path === "/erp" && !fails && /invoice-30/.test(body));
};

/// The wrong version runs beside the right one, first without effect, then for a share of the records.
const tryVersion = async (operator, source, receiver) => {
  const { page } = operator;
  await operator.open("/admin/modules/ledger");
  await operator.fill({ version: "2", mode: "shadow" });
  await operator.press("Begin");
  await operator.look("module-shadow-begun");
  for (const id of [40, 41, 42]) await sendFromCrm(source, id);
  // The page is not live: its counts are those of the moment at which it was opened.
  for (const until = Date.now() + PATIENCE; ;) {
    await operator.open("/admin/modules/ledger");
    const counted = await page.locator("#trial dd", { hasText: /^3\b|\b3$/ }).count();
    if (counted > 0) break;
    check(Date.now() < until, "the shadow has compared three events");
    await page.waitForTimeout(200);
  }
  await operator.look("module-shadow");
  await operator.fill({ mode: "canary", share: "50", min_calls: "1000" });
  await operator.press("Change");
  await operator.shows("runs as a canary on 50 %");
  await operator.look("module-canary");
  await operator.confirm("Roll back…", "Roll it back", page.locator("#trial"));
  await operator.shows("The trial of ledger v2 is over");
  await operator.look("module-trial-ended");
  await receiver.arrivals.wait("an event that was shadowed",
    ({ path, body, fails }) => path === "/erp" && !fails && /invoice-42/.test(body));
};

/// The form of each kind of endpoint, and an endpoint from which consumers fetch.
const lookAtKinds = async (operator) => {
  await operator.open("/admin/endpoints/new");
  const links = await operator.page.locator("main a[href*='kind=']").evaluateAll((all) => all.map((one) => one.href));
  check(links.length > 10, `the page offers ${links.length} kinds`);
  for (const address of new Set(links)) {
    const path = address.slice(WAYBILL_URL.length);
    await operator.openAndLook(path, `kind-${new URL(address).searchParams.get("kind")}`);
  }
  await makeEndpoint(operator, "pull", { name: "warehouse", url: "pull://warehouse", events: "invoice.*" });
  await operator.openAndLook("/admin/endpoints/warehouse", "endpoint-pull");
};

/// What of each day has arrived.
const lookAtCompleteness = async (operator) => {
  await operator.openAndLook("/admin/completeness", "completeness");
  const today = new Date().toISOString().slice(0, 10);
  await operator.openAndLook(`/admin/completeness/erp/${today}`, "completeness-day");
};

/// Every other page, with something on it.
const lookAtTheRest = async (operator) => {
  const pages = {
    overview: "/admin", "overview-hour": "/admin?span=1h", events: "/admin/events",
    "events-none-match": "/admin/events?type=lead.created", records: "/admin/records/invoice/10",
    search: "/admin/search?q=erp", "search-nothing": "/admin/search?q=nothing-like-it",
    sources: "/admin/sources", source: "/admin/sources/crm", "source-delete": "/admin/sources/crm/delete",
    "source-rotate": "/admin/sources/crm/rotate", flows: "/admin/flows", "flow-edit": "/admin/flows/books/edit",
    "flow-run": "/admin/flows/books/run", "flow-delete": "/admin/flows/books/delete", modules: "/admin/modules",
    "endpoint-edit": "/admin/endpoints/erp/edit", "endpoint-delete": "/admin/endpoints/erp/delete",
    "endpoint-rotate": "/admin/endpoints/erp/rotate", tokens: "/admin/tokens", "token-form": "/admin/tokens/new",
    audit: "/admin/audit", nodes: "/admin/nodes",
  };
  for (const [name, path] of Object.entries(pages)) await operator.openAndLook(path, name);
  await operator.open("/admin/flows/books/run");
  await operator.press(/^(Run|Dry run|Try)/.exec(await operator.page.locator("main form button").first().textContent())?.input.trim());
  await operator.look("flow-run-result");
  check(await operator.open("/admin/endpoints/none") === 404, "an unknown endpoint is not found");
  await operator.look("not-found");
  await operator.open("/admin/events");
  await operator.page.locator("main details.chip summary").first().click();
  await operator.look("events-picker");
  await operator.page.setViewportSize({ width: 390, height: 844 });
  await operator.page.locator("details.menu summary").click();
  await operator.look("menu");
  await operator.open("/admin/endpoints/erp");
  await operator.page.locator("main details.ask summary").first().click();
  await operator.look("endpoint-question");
};

/// A token that may only read sees no button that would fail, and no link that is refused.
const readOnly = async (browser, admin, looker) => {
  await admin.open("/admin/tokens/new");
  await admin.fill({ name: "reader" });
  await admin.press("Create token");
  await admin.look("token-secret");
  const token = (await admin.page.locator("main pre").first().textContent()).trim();
  const context = await browser.newContext();
  const reader = new Operator(await context.newPage(), looker);
  await reader.signIn(token);
  await reader.look("reader-overview");
  const [seen, waiting] = [new Set(), ["/admin"]];
  while (waiting.length > 0) {
    const path = waiting.pop();
    const answer = await reader.page.request.get(`${WAYBILL_URL}${path}`, { maxRedirects: 0 });
    check(answer.status() === 200, `the reader may open ${path}, not ${answer.status()}`);
    if (!/html/.test(answer.headers()["content-type"] ?? "")) continue;
    const text = await answer.text();
    const forms = [...text.matchAll(/<form[^>]*method="post"[^>]*action="([^"]*)"/g)].map((form) => form[1]);
    const others = forms.filter((action) => action !== "/admin/sign-out");
    check(others.length === 0, `the reader gets no form at ${path}: ${others}`);
    for (const [, link] of text.matchAll(/href="(\/admin[^"#]*)/g)) {
      const address = link.replaceAll("&amp;", "&");
      // One of each kind of address is enough; lists differ in their filters only.
      const kind = address.replace(/[a-z]+_[0-9a-z]+/g, "ID").replace(/\d{4}-\d\d-\d\d/, "DAY").replace(/\?.*/, "");
      if (seen.has(kind) || /assets|\.wasm|component$/.test(address)) continue;
      seen.add(kind);
      waiting.push(address);
    }
  }
  tell(`the reader opened ${seen.size} kinds of pages`);
  await reader.open("/admin/endpoints/erp");
  await reader.look("reader-endpoint");
  await context.close();
};

/// The main steps again, without a mouse.
const keyboardOnly = async (browser, looker, source, receiver) => {
  const context = await browser.newContext();
  const operator = new Operator(await context.newPage(), looker);
  const keyboard = new Keyboard(operator.page);
  await operator.open("/admin/sign-in");
  await keyboard.write("#tok", WAYBILL_TOKEN);
  await keyboard.pressEnter();
  await keyboard.tabTo("a.skip");
  await keyboard.pressEnter({ stays: true });
  await keyboard.tabTo(".side a[href='/admin/endpoints']", { backwards: true });
  await keyboard.pressEnter();
  await keyboard.tabTo("main a[href='/admin/endpoints/erp']");
  await keyboard.pressEnter();
  await keyboard.tabTo("main details.ask summary");
  await keyboard.pressEnter({ stays: true });
  await keyboard.tabTo("main details.ask[open] button");
  await keyboard.pressEnter();
  await operator.shows("is paused");
  await keyboard.tabTo("main form[action$='/resume'] button");
  await keyboard.pressEnter();
  await operator.shows("is resumed");
  receiver.broken.add("/erp");
  await sendFromCrm(source, 50);
  await waitForDead(operator, 1);
  receiver.broken.delete("/erp");
  await keyboard.tabTo("main details.chip summary");
  await keyboard.pressEnter({ stays: true });
  await keyboard.tabTo("main details.chip[open] input");
  await keyboard.press("ArrowDown");
  await keyboard.tabTo("main details.chip[open] button");
  await keyboard.pressEnter();
  await keyboard.tabTo("main form[action='/admin/dead-letters/replay'] button");
  await keyboard.pressEnter();
  await operator.shows("The replay has ended");
  await keyboard.tabTo(".side a[href='/admin/modules']", { backwards: true });
  await keyboard.pressEnter();
  await keyboard.tabTo("main a[href='/admin/modules/ledger']");
  await keyboard.pressEnter();
  await keyboard.tabTo("main details.ask summary");
  await keyboard.pressEnter({ stays: true });
  await keyboard.tabTo("main details.ask[open] button");
  await keyboard.pressEnter();
  await operator.shows("v2 is active");
  await keyboard.tabTo(".side form[action='/admin/sign-out'] button", { backwards: true });
  await keyboard.pressEnter();
  check(await operator.heading() === "Sign in", "the session has ended");
  tell(`by keyboard alone, with ${keyboard.pressed} keys`);
  await context.close();
};

/// The whole day, in the order in which an operator lives it.
const day = async (browser, looker, files) => {
  const receiver = await startReceiver();
  const mailbox = await startMailbox();
  // The operator lives in another zone than the server.
  const context = await browser.newContext({ timezoneId: "America/New_York", locale: "en-US" });
  const operator = new Operator(await context.newPage(), looker);
  await operator.openAndLook("/admin/sign-in", "sign-in");
  await operator.signIn("wb_this-is-not-a-token");
  await operator.look("sign-in-refused");
  await operator.signIn(WAYBILL_TOKEN);
  await operator.shows("Times are in America/New_York");
  await lookAtNothing(operator);
  tell("signed in; every page is empty");
  const source = await makeSource(operator);
  await makeEndpoints(operator, receiver, mailbox);
  await operator.open("/admin/modules");
  await uploadModule(operator, files.right, true);
  await makeFlow(operator);
  tell("made a source, endpoints, a module and a flow");
  await watchArrivals(operator, source, receiver);
  tell("saw events arrive");
  await breakReceiver(operator, source, receiver, mailbox);
  tell("was told of the broken receiver: overview, Slack, mail");
  await mendAndReplay(operator, receiver);
  tell(`found the cause, mended it and replayed ${FAILED}`);
  await rollBack(operator, source, receiver, files.wrong);
  tell("rolled a module back");
  await tryVersion(operator, source, receiver);
  tell("tried a version as a shadow and as a canary");
  await lookAtKinds(operator);
  await lookAtCompleteness(operator);
  tell("looked at every kind of endpoint, and at completeness");
  await lookAtTheRest(operator);
  tell("looked at all other pages");
  await readOnly(browser, operator, looker);
  await keyboardOnly(browser, looker, source, receiver);
  receiver.close();
  mailbox.close();
};

const main = async () => {
  const profile = await mkdtemp(join(tmpdir(), "waybill-pages-"));
  await rm(WAYBILL_PICTURES, { recursive: true, force: true });
  const looker = new Looker(WAYBILL_PICTURES);
  const browser = await chromium.launch({ executablePath: WAYBILL_CHROMIUM, args: BROWSER });
  try {
    const right = join(WAYBILL_GUESTS, "invoice_to_ledger.wasm");
    const wrong = join(profile, "ledger.wasm");
    await writeFile(wrong, await readFile(join(WAYBILL_GUESTS, "hot_leads.wasm")));
    await day(browser, looker, { right, wrong });
  } catch (error) {
    looker.problems.push(`the day ends early: ${error.stack}`);
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
  for (const problem of looker.problems) console.log(problem);
  tell(`${looker.pictures} pictures in ${WAYBILL_PICTURES}; ${looker.problems.length} problems`);
  // Connections that the server keeps open to the receivers would keep this program alive.
  process.exit(looker.problems.length > 0 ? 1 : 0);
};

await main();
