// Runs the tests in `test/*.test.ts` with Node, with the SDK's stand-in as the host.

import { readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ALIAS, PROJECT, SDK, checkTypes, fail, load, run } from "./project.mjs";

checkTypes("test");
const files = readdirSync(join(PROJECT, "test")).filter((file) => file.endsWith(".test.ts"));
if (files.length === 0) fail("there are no tests: test/*.test.ts");
const folder = join(PROJECT, "dist", "test");
rmSync(folder, { recursive: true, force: true });
await load("esbuild").build({
  absWorkingDir: PROJECT, entryPoints: files.map((file) => join("test", file)), outdir: folder,
  outExtension: { ".js": ".mjs" }, bundle: true, platform: "node", format: "esm", target: "node20",
  charset: "utf8", alias: ALIAS, sourcemap: "inline", logLevel: "error", plugins: [standIns()],
}).catch(() => process.exit(1));
const tests = files.map((file) => join(folder, file.replace(/\.ts$/, ".mjs")));
run(["--enable-source-maps", "--test", ...tests]);

/** Replaces the host's interfaces by the SDK's stand-ins. */
function standIns() {
  const fakes = JSON.stringify(join(SDK, "fakes.ts"));
  return {
    name: "stand-ins",
    setup(build) {
      build.onResolve({ filter: /^waybill:module\// }, ({ path }) => ({ path, namespace: "host" }));
      build.onLoad({ filter: /.*/, namespace: "host" }, ({ path }) => {
        const name = /\/(.*)@/.exec(path)[1];
        const functions = functionsOf(path).map(
          (one) => `export const ${one} = (...given) => fakes.${name}.${one}(...given);`,
        );
        const contents = [`import { fakes } from ${fakes};`, ...functions].join("\n");
        return { contents, resolveDir: SDK };
      });
    },
  };
}

/** Returns the names of an interface's functions, from its types. */
function functionsOf(path) {
  const types = readFileSync(join(SDK, "host.d.ts"), "utf8");
  const [, from] = types.split(`declare module "${path}" {`);
  const body = from.split("\n}\n")[0];
  return [...body.matchAll(/export function (\w+)/g)].map((found) => found[1]);
}
