// Compiles a project to a component: types, bundle, QuickJS. Writes `dist/NAME.wasm`.

import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { ALIAS, PROJECT, SDK, checkTypes, fail, load } from "./project.mjs";

const SOURCE = "src/module.ts";
/** The functions of an author's module and of the roles' interfaces. */
const ROLES = { filter: "check", transform: "apply", route: "plan" };

checkTypes(".");
const esbuild = load("esbuild");
const { componentize } = load("componentize-qjs");
const options = {
  absWorkingDir: PROJECT, bundle: true, write: false, format: "esm", target: "es2023",
  charset: "utf8", external: ["waybill:module/*"], alias: ALIAS, logLevel: "error",
  sourcemap: "external", sourcesContent: false, outfile: join(PROJECT, "dist/module.js"),
};

const roles = await findRoles();
const { code, lines } = await bundle(roles);
const wit = writeWorld(roles);
try {
  const jsSource = `${code}\nglobalThis.WAYBILL_LINES = ${JSON.stringify(lines)};\n`;
  const made = await componentize({ witPath: wit, jsSource, world: "module", sync: true });
  const { name } = JSON.parse(readFileSync(join(PROJECT, "package.json"), "utf8"));
  mkdirSync(join(PROJECT, "dist"), { recursive: true });
  writeFileSync(join(PROJECT, "dist", `${name}.wasm`), made.component);
} catch (error) {
  fail(`the module does not start: ${error.message}`);
} finally {
  rmSync(wit, { recursive: true });
}

/** Returns the roles that the author's module exports. */
async function findRoles() {
  const built = await esbuild.build({ ...options, entryPoints: [SOURCE], metafile: true })
    .catch(() => process.exit(1));
  const exported = Object.values(built.metafile.outputs).flatMap((output) => output.exports);
  const found = Object.keys(ROLES).filter((role) => exported.includes(role));
  if (found.length === 0) {
    fail(`${SOURCE} exports none of the functions ${Object.keys(ROLES).join(", ")}`);
  }
  return found;
}

/** Bundles the author's module with the SDK. */
async function bundle(roles) {
  // The SDK comes first, because it makes `console` before the module's own code runs.
  const contents = [
    `import { role } from ${JSON.stringify(join(SDK, "entry.ts"))};`,
    `import * as module from ${JSON.stringify(`./${SOURCE}`)};`,
    ...roles.map((name) => `export const ${name} = { ${ROLES[name]}: role(module.${name}) };`),
  ].join("\n");
  const stdin = { contents, resolveDir: PROJECT, sourcefile: "waybill-entry" };
  const built = await esbuild.build({ ...options, stdin }).catch(() => process.exit(1));
  const find = (end) => built.outputFiles.find((file) => file.path.endsWith(end)).text;
  return { code: find(".js"), lines: readPlaces(JSON.parse(find(".js.map"))) };
}

/**
 * Returns the places of a source map that an error needs: for each line of the bundle the columns
 * at which another line of a source begins. Lines of the SDK have no place.
 */
function readPlaces(map) {
  const files = map.sources.map((source) => relative(PROJECT, join(PROJECT, "dist", source)));
  const isAuthors = files.map(
    (file) => file !== "waybill-entry" && !join(PROJECT, file).startsWith(SDK),
  );
  let [file, line, column] = [0, 0, 0];
  const lines = map.mappings.split(";").map((text) => {
    const places = [];
    column = 0;
    for (const segment of text.split(",").filter(Boolean)) {
      const [toColumn, toFile = 0, toLine = 0] = decode(segment);
      [column, file, line] = [column + toColumn, file + toFile, line + toLine];
      const place = [isAuthors[file] ? file : -1, line + 1];
      if (places.at(-2) !== place[0] || places.at(-1) !== place[1]) places.push(column, ...place);
    }
    return places;
  });
  return { files, lines };
}

/** Decodes a segment of a source map: numbers in base64, five bits in each digit. */
function decode(segment) {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const numbers = [];
  let [value, shift] = [0, 0];
  for (const letter of segment) {
    const digit = digits.indexOf(letter);
    value |= (digit & 31) << shift;
    shift += 5;
    if (digit < 32) {
      numbers.push(value & 1 ? -(value >> 1) : value >> 1);
      [value, shift] = [0, 0];
    }
  }
  return numbers;
}

/** Writes the interface with a world of these roles. Returns the folder. */
function writeWorld(roles) {
  const folder = mkdtempSync(join(tmpdir(), "waybill-"));
  cpSync(join(SDK, "..", "wit"), folder, { recursive: true });
  const exports = roles.map((role) => `export ${role};`).join(" ");
  const world = `package waybill:module@0.1.0;\nworld module { include capabilities; ${exports} }\n`;
  writeFileSync(join(folder, "module.wit"), world);
  return folder;
}
