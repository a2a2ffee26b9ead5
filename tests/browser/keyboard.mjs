// A person who has a keyboard and no mouse.

/// Keys that are pressed before a place counts as out of reach.
const MOST_TABS = 150;

export class Keyboard {
  pressed = 0;

  constructor(page) {
    this.page = page;
  }

  async press(key) {
    this.pressed += 1;
    await this.page.keyboard.press(key);
  }

  /// Presses Tab until the first place that the selector finds holds the focus, which must be visible.
  async tabTo(selector, { backwards = false } = {}) {
    for (let n = 0; n < MOST_TABS; n += 1) {
      const place = await this.page.evaluate((wanted) => {
        const held = document.activeElement;
        if (held === null || held === document.body || !held.matches(wanted)) return null;
        const style = getComputedStyle(held);
        return { ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2, shown: held.checkVisibility() };
      }, selector);
      if (place !== null) {
        if (!place.ring || !place.shown) throw new Error(`the focus cannot be seen at ${selector}`);
        return;
      }
      await this.press(backwards ? "Shift+Tab" : "Tab");
    }
    throw new Error(`${selector} cannot be reached with Tab at ${this.page.url()}`);
  }

  async write(selector, text) {
    await this.tabTo(selector);
    await this.page.keyboard.type(text);
  }

  /// Presses Enter, and waits for the next page unless this one stays.
  async pressEnter({ stays = false } = {}) {
    if (stays) return this.press("Enter");
    return Promise.all([this.page.waitForEvent("load"), this.press("Enter")]);
  }
}
