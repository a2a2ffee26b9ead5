// Shows exact times in the reader's time zone, followed by UTC. Without this script they are shown
// in UTC. Clock times and days in drawings follow the same zone.
"use strict";
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

const day = new Intl.DateTimeFormat("sv", { month: "2-digit", day: "2-digit" });

function tellZones(root) {
  if (zone === "UTC") return;
  for (const time of root.querySelectorAll("time[datetime]:not([data-zoned])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const words = time.textContent;
    time.dataset.zoned = "";
    time.title = `${exact.format(at)}, ${zone} (${time.title})`;
    if (/^\d\d:\d\d:\d\d$/.test(words)) time.textContent = clock.format(at);
    else if (/^\d\d:\d\d$/.test(words)) time.textContent = minute.format(at);
    else if (/^\d\d-\d\d$/.test(words)) time.textContent = day.format(at);
    else if (/^\d{4}-\d\d-\d\dT/.test(words)) time.textContent = exact.format(at);
  }
}

for (const place of document.querySelectorAll("[data-zone]")) place.textContent = `Times are in ${zone}`;
tellZones(document);
