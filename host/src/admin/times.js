// Says the exact times in the reader's own zone too. Without it they are said in UTC.
"use strict";
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime()) && zone !== "UTC") {
    time.title = `${exact.format(at)}, ${zone} (${time.title})`;
  }
}
