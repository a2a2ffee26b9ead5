// What the build and the test share: the project's tools and the SDK's names.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const SDK = dirname(fileURLToPath(import.meta.url));
export const PROJECT = process.cwd();
const require = createRequire(join(PROJECT, "package.json"));

/** The SDK's modules by the names under which a project imports them. */
export const ALIAS = {
  waybill: join(SDK, "index.ts"),
  "waybill/testing": join(SDK, "testing.ts"),
};

/** Loads a package of the project. */
export function load(name) {
  try {
    return require(name);
  } catch (error) {
    fail(`cannot load ${name}: ${error.message}\nrun \`npm ci\` in ${PROJECT}`);
  }
}

/** Checks the types of a folder with the project's compiler, which prints what is wrong. */
export function checkTypes(folder) {
  const tsc = join(dirname(require.resolve("typescript/package.json")), "bin", "tsc");
  run([tsc, "--noEmit", "--project", folder]);
}

/** Runs Node and ends this process if it fails. */
export function run(args) {
  const { status, error } = spawnSync(process.execPath, args, { stdio: "inherit" });
  if (error) fail(`cannot run node: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

export function fail(message) {
  console.error(message);
  process.exit(1);
}
