//! Evaluates cron expressions in a time zone.
//!
//! An expression has the five usual Unix fields (minute, hour, day of month, month, day of week
//! with 0 or 7 for Sunday), or six with seconds first. If both day of month and day of week are
//! restricted, a day has to match only one of them (crontab(5)).
//!
//! When clocks are put forward, a time that does not exist is moved later by the same amount. When
//! clocks are put back, a time that occurs twice only counts the first time. An expression for
//! every hour counts both times.

use crate::time::timestamp::Timestamp;
use chrono::{Datelike as _, NaiveDate, TimeZone as _, Timelike as _, Utc};
use cron::Schedule;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::str::FromStr as _;

/// Longer than any change of the clocks for daylight saving.
const SHIFT: SignedDuration = SignedDuration::from_hours(3);
/// Days of the week as cron numbers them. Sunday is both 0 and 7.
const DAYS: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct CronSchedule {
    /// One schedule, or two of which a time has to match either.
    schedules: Vec<Schedule>,
    zone: TimeZone,
    every_hour: bool,
}

/// Returns the time zone of an IANA name such as `Europe/Athens`, or UTC if there is no name.
pub fn read_zone(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name).map_err(|_unknown| {
        format!("`{name}` is not a time zone; give an IANA name such as `Europe/Athens` or `UTC`")
    })
}

impl CronSchedule {
    /// Reads an expression. The error says what is wrong with it.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is not a cron expression; write five fields (minute, hour, day of month, month, day \
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
            return Err(format!("`{text}` never occurs, because no such day exists"));
        }
        Ok(cron)
    }

    /// Returns the first time after `after`, or `None` if there is none before the year 2100.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let instant = jiff::Timestamp::from_microsecond(after.micros()).ok()?;
        let civil = self.zone.to_datetime(instant);
        let offset = |at: jiff::Timestamp| self.zone.to_offset(at);
        let (before, later) = (instant.checked_sub(SHIFT).ok()?, instant.checked_add(SHIFT).ok()?);
        let is_steady = offset(before) == offset(later);
        // Around a change of the clocks, an earlier civil time may be a later instant.
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

    /// Returns the instants of a civil time: one, or two if the clocks are put back and the
    /// expression is for every hour.
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

/// Converts a civil time to the type of the cron library, which never sees the zone.
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

/// Returns the days of the week by name, because the library numbers them from 1 for Sunday, and
/// cron from 0.
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
        // `FRI-SUN` and `5-7` end with the following Sunday.
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
    fn fields_have_the_meaning_of_unix_cron() {
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
    fn a_time_skipped_by_the_clocks_is_moved_later() {
        // In Athens, 02:59 (UTC+2) is followed by 04:00 (UTC+3) on 2026-03-29.
        let daily = times("30 3 * * *", "Europe/Athens", "2026-03-28T00:00:00Z", 3);
        assert_eq!(daily, ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]);
        let often = times("*/30 * * * *", "Europe/Athens", "2026-03-29T00:00:00Z", 4);
        assert_eq!(
            often,
            ["2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30", "2026-03-29T02:00"]
        );
    }

    #[test]
    fn a_time_repeated_by_the_clocks_counts_twice_only_for_every_hour() {
        // In Athens, 03:59 (UTC+3) is followed by 03:00 (UTC+2) on 2026-10-25.
        let daily = times("30 3 * * *", "Europe/Athens", "2026-10-24T12:00:00Z", 2);
        assert_eq!(daily, ["2026-10-25T00:30", "2026-10-26T01:30"]);
        let often = times("*/30 * * * *", "Europe/Athens", "2026-10-25T00:00:00Z", 5);
        let expected = ["00:30", "01:00", "01:30", "02:00", "02:30"];
        assert_eq!(often, expected.map(|time| format!("2026-10-25T{time}")));
    }

    #[test]
    fn an_invalid_expression_is_refused_with_a_reason() {
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
            assert!(error.contains("is not a cron expression"), "{text}: {error}");
        }
        assert!(
            CronSchedule::parse("0 0 31 2 *", TimeZone::UTC).unwrap_err().contains("never occurs")
        );
        assert!(read_zone(Some("Europe/Atlantis")).unwrap_err().contains("is not a time zone"));
    }
}
