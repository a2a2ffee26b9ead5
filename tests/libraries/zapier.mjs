// Runs the check `triggerHasUniquePrimary` of zapier-platform-core on the rows that a polling trigger returned.
// Arguments: the rows as JSON, and the field that the trigger's `outputFields` name as primary. Prints what is wrong.

import { createRequire } from 'node:module';

const require = createRequire(`${process.cwd()}/`);
const check = require('zapier-platform-core/src/checks/trigger-has-unique-primary');

const [rows, key] = process.argv.slice(2);
const app = { triggers: { invoice: { operation: { outputFields: [{ key, primary: true }] } } } };
const method = 'triggers.invoice.operation.perform';
if (!check.shouldRun(method)) {
    throw new Error('the check does not run on this method');
}
for (const complaint of check.run(method, JSON.parse(rows), app)) {
    console.log(complaint);
}
