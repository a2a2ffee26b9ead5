// Looks at one page as people do: wide and on a phone, light and dark, with and without seeing it.

import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/// Widths of a desk and a phone, in pixels.
const WIDTHS = [1440, 390];
const SCHEMES = ["light", "dark"];

/// Runs axe-core in a page and returns one line for each violation and place.
const findViolations = async (page) => {
  // The page's own policy forbids added scripts. Evaluating goes through the debugger instead.
  if (!await page.evaluate(() => "axe" in window)) await page.evaluate(await readFile(AXE, "utf8"));
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.flatMap((rule) => rule.nodes.map((node) =>
    `axe ${rule.id} (${rule.impact}): ${node.target.join(" ")}: ${node.failureSummary.replaceAll("\n", " ")}`));
};

/// Returns what sticks out at the side of a page.
const findOverflow = (page) => page.evaluate(() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const all = [...document.querySelectorAll("body *")];
  const out = all.filter((element) => element.getBoundingClientRect().right > width + 1);
  const told = out.slice(0, 3).map((element) => `${element.tagName.toLowerCase()}.${element.className}`);
  return [`scrolls sideways at ${width} px: ${told.join(", ")}`];
});

/// Takes the pictures of every page and keeps what is wrong with them.
export class Looker {
  problems = [];
  pictures = 0;
  #folder;
  #step = 0;

  constructor(folder) {
    this.#folder = folder;
  }

  /// Looks at a page that is open. The name becomes part of the names of its four pictures.
  async look(page, name) {
    this.#step += 1;
    const stem = `${String(this.#step).padStart(2, "0")}-${name}`;
    await mkdir(this.#folder, { recursive: true });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: width > 900 ? 900 : 844 });
      for (const colorScheme of SCHEMES) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        // A page that was opened at a place in it is pictured from its beginning.
        await page.evaluate(() => window.scrollTo(0, 0));
        const path = join(this.#folder, `${stem}-${width}-${colorScheme}.png`);
        await page.screenshot({ path, fullPage: true });
        this.pictures += 1;
        const found = await findViolations(page);
        const overflow = colorScheme === "light" ? await findOverflow(page) : [];
        for (const problem of [...found, ...overflow]) {
          this.problems.push(`${name} at ${width} px, ${colorScheme}: ${problem}`);
        }
      }
    }
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.emulateMedia({ colorScheme: "light" });
  }
}
