//! Cron expressions in a time zone.
//!
//! Five fields as every Unix has them (minute, hour, day of month, month, day of week with 0 or 7
//! for Sunday), or six with seconds first. Where day of month and day of week are both restricted,
//! one of them is enough (crontab(5)).
//!
//! When clocks are put forward, a time that does not exist is taken as much later as the clocks
//! were put. When they are put back, a time that comes twice is taken once, the first time; an
//! expression for every hour is taken both times.

use crate::time::timestamp::Timestamp;
use chrono::{Datelike as _, NaiveDate, TimeZone as _, Timelike as _, Utc};
use cron::Schedule;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::str::FromStr as _;

/// More than clocks are ever put forward or back.
const SHIFT: SignedDuration = SignedDuration::from_hours(3);
/// Days of the week as cron counts them, Sunday also as 7.
const DAYS: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct CronSchedule {
    /// One, or two of which one is enough.
    schedules: Vec<Schedule>,
    zone: TimeZone,
    every_hour: bool,
}

/// The time zone of an IANA name such as `Europe/Athens`; UTC where there is none.
pub fn read_zone(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name).map_err(|_unknown| {
        format!("`{name}` is not a time zone; give an IANA name such as `Europe/Athens` or `UTC`")
    })
}

impl CronSchedule {
    /// Reads an expression; an error says what is wrong with it.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is no cron expression; write five fields (minute, hour, day of month, month, day \
                 of week), such as `0 9 * * MON-FRI`, or six with seconds first"
            )
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let six = if fields.len() == 5 { [&["0"][..], &fields].concat() } else { fields };
        let [second, minute, hour, day, month, weekday] = *six.as_slice() else {
            return Err(form());
        };
        let is_any = |field: &str| field.starts_with(['*', '?']);
        let one_is_any = is_any(day) || is_any(weekday);
        let weekday = weekdays(weekday).ok_or_else(form)?;
        let schedule = |day: &str, weekday: &str| {
            let text = format!("{second} {minute} {hour} {day} {month} {weekday}");
            Schedule::from_str(&text).map_err(|_opaque| form())
        };
        let schedules = if one_is_any {
            vec![schedule(day, &weekday)?]
        } else {
            vec![schedule(day, "*")?, schedule("*", &weekday)?]
        };
        let cron = Self { schedules, zone, every_hour: hour == "*" };
        if cron.next_after(Timestamp::from_micros(0)).is_none() {
            return Err(format!("`{text}` never comes; there is no such day"));
        }
        Ok(cron)
    }

    /// The first time after this one; `None` where there is none before the year 2100.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let instant = jiff::Timestamp::from_microsecond(after.micros()).ok()?;
        let civil = self.zone.to_datetime(instant);
        let offset = |at: jiff::Timestamp| self.zone.to_offset(at);
        let (before, later) = (instant.checked_sub(SHIFT).ok()?, instant.checked_add(SHIFT).ok()?);
        let is_steady = offset(before) == offset(later);
        // Around a change of the clocks an earlier civil time may be a later instant.
        let from = if is_steady { civil } else { civil.checked_sub(SHIFT).ok()? };
        let enough = civil.checked_add(SHIFT + SHIFT).ok()?;
        let first = |schedule: &Schedule| self.first(schedule, from, enough, after);
        self.schedules.iter().filter_map(first).min()
    }

    fn first(
        &self,
        schedule: &Schedule,
        from: DateTime,
        enough: DateTime,
        after: Timestamp,
    ) -> Option<Timestamp> {
        let is_steady = from >= self.zone.to_datetime(instant(after)?);
        let mut best: Option<Timestamp> = None;
        for time in schedule.after(&naive(from)?) {
            let time = civil(&time)?;
            if best.is_some() && (is_steady || time > enough) {
                break;
            }
            let found = self.instants(time).into_iter().flatten().filter(|at| *at > after).min();
            best = best.into_iter().chain(found).min();
        }
        best
    }

    /// When a civil time is: once, or twice where the clocks are put back and each hour counts.
    fn instants(&self, time: DateTime) -> [Option<Timestamp>; 2] {
        let micros = |at: Result<jiff::Timestamp, jiff::Error>| {
            at.ok().map(|at| Timestamp::from_micros(at.as_microsecond()))
        };
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        let first = micros(ambiguous.compatible());
        let second = self.every_hour && ambiguous.is_ambiguous();
        [first, if second { micros(ambiguous.later()) } else { None }]
    }
}

fn instant(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(at.micros()).ok()
}

/// A civil time as the cron library takes it: it never sees the zone.
fn naive(time: DateTime) -> Option<chrono::DateTime<Utc>> {
    let (month, day) = (time.month().unsigned_abs(), time.day().unsigned_abs());
    let date = NaiveDate::from_ymd_opt(time.year().into(), month.into(), day.into())?;
    let clock =
        [time.hour(), time.minute(), time.second()].map(|part| u32::from(part.unsigned_abs()));
    let [hour, minute, second] = clock;
    Some(Utc.from_utc_datetime(&date.and_hms_opt(hour, minute, second)?))
}

fn civil(time: &chrono::DateTime<Utc>) -> Option<DateTime> {
    let part = |number: u32| i8::try_from(number).ok();
    DateTime::new(
        time.year().try_into().ok()?,
        part(time.month())?,
        part(time.day())?,
        part(time.hour())?,
        part(time.minute())?,
        part(time.second())?,
        0,
    )
    .ok()
}

/// The days of the week by name: the library counts them from 1 for Sunday, cron from 0.
fn weekdays(field: &str) -> Option<String> {
    if field == "*" || field == "?" {
        return Some("*".to_owned());
    }
    let mut names: Vec<&str> = Vec::new();
    for item in field.split(',') {
        let (range, step) = item.split_once('/').unwrap_or((item, "1"));
        let step: usize = step.parse().ok().filter(|step| *step > 0)?;
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (weekday(first)?, weekday(last)?),
            None if range == "*" => (0, 6),
            None if item.contains('/') => (weekday(range)?, 6),
            None => (weekday(range)?, weekday(range)?),
        };
        // `FRI-SUN` and `5-7` end with the Sunday after.
        let last = if last < first && last == 0 { 7 } else { last };
        names.extend(DAYS.get(first..=last)?.iter().step_by(step));
    }
    Some(names.join(","))
}

fn weekday(text: &str) -> Option<usize> {
    match text.parse::<usize>() {
        Ok(number) => (number <= 7).then_some(number),
        Err(_) => DAYS.iter().position(|day| day.eq_ignore_ascii_case(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str, zone_name: &str, from: &str, count: usize) -> Vec<String> {
        let cron = CronSchedule::parse(text, read_zone(Some(zone_name)).unwrap()).unwrap();
        let mut at = Timestamp::parse(from).unwrap();
        let mut next = || {
            at = cron.next_after(at)?;
            Some(at.to_string().replace(":00.000Z", ""))
        };
        (0..count).map_while(|_| next()).collect()
    }

    #[test]
    fn fields_mean_what_they_mean_on_unix() {
        // 2026-11-21 is a Saturday.
        let from = "2026-11-21T12:00:00Z";
        assert_eq!(times("30 9 * * 1-5", "UTC", from, 2), ["2026-11-23T09:30", "2026-11-24T09:30"]);
        assert_eq!(times("0 0 * * 0", "UTC", from, 1), ["2026-11-22T00:00"]);
        assert_eq!(times("0 0 * * 7", "UTC", from, 1), ["2026-11-22T00:00"]);
        assert_eq!(
            times("0 0 * * fri-sun", "UTC", from, 2),
            ["2026-11-22T00:00", "2026-11-27T00:00"]
        );
        assert_eq!(times("*/20 * * * *", "UTC", from, 2), ["2026-11-21T12:20", "2026-11-21T12:40"]);
        assert_eq!(times("30 * * * * *", "UTC", from, 1), ["2026-11-21T12:00:30.000Z"]);
        assert_eq!(times("0 0 25 * 1", "UTC", from, 2), ["2026-11-23T00:00", "2026-11-25T00:00"]);
        assert_eq!(times("0 0 29 2 *", "UTC", from, 1), ["2028-02-29T00:00"]);
    }

    #[test]
    fn clocks_that_are_put_forward_make_a_time_later_and_not_missing() {
        // Athens: on 2026-03-29 it is 03:00 (UTC+2), and then 04:00 (UTC+3).
        let daily = times("30 3 * * *", "Europe/Athens", "2026-03-28T00:00:00Z", 3);
        assert_eq!(daily, ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]);
        let often = times("*/30 * * * *", "Europe/Athens", "2026-03-29T00:00:00Z", 4);
        assert_eq!(
            often,
            ["2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30", "2026-03-29T02:00"]
        );
    }

    #[test]
    fn clocks_that_are_put_back_repeat_only_what_is_for_every_hour() {
        // Athens: on 2026-10-25 it is 04:00 (UTC+3), and then 03:00 (UTC+2) again.
        let daily = times("30 3 * * *", "Europe/Athens", "2026-10-24T12:00:00Z", 2);
        assert_eq!(daily, ["2026-10-25T00:30", "2026-10-26T01:30"]);
        let often = times("*/30 * * * *", "Europe/Athens", "2026-10-25T00:00:00Z", 5);
        let expected = ["00:30", "01:00", "01:30", "02:00", "02:30"];
        assert_eq!(often, expected.map(|time| format!("2026-10-25T{time}")));
    }

    #[test]
    fn what_is_no_expression_is_told() {
        for text in [
            "",
            "* * * *",
            "61 * * * *",
            "0 0 * * 8",
            "0 0 * * MO",
            "a b c d e",
            "0 0 1 1 * 2030 x",
        ] {
            let error = CronSchedule::parse(text, TimeZone::UTC).unwrap_err();
            assert!(error.contains("is no cron expression"), "{text}: {error}");
        }
        assert!(
            CronSchedule::parse("0 0 31 2 *", TimeZone::UTC).unwrap_err().contains("never comes")
        );
        assert!(read_zone(Some("Europe/Atlantis")).unwrap_err().contains("is not a time zone"));
    }
}
