//! Times in the formats of other systems.

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Formats `2026-01-31 23:59:59`, by a clock that is `ahead` seconds ahead of UTC.
pub fn stamp(unix: i64, ahead: i64) -> String {
    let (year, month, day, second) = civil(unix + ahead);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Formats `2026-01-31T23:59:59Z`.
pub fn iso(unix: i64) -> String {
    format!("{}Z", stamp(unix, 0).replace(' ', "T"))
}

/// Formats `Sat, 31 Jan 2026 23:59:59 GMT`, as in headers.
pub fn http_date(unix: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, second) = civil(unix);
    let weekday = pick(&WEEKDAYS, unix.div_euclid(DAY).rem_euclid(7));
    let month = pick(&MONTHS, month - 1);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

fn pick(names: &[&'static str], n: i64) -> &'static str {
    usize::try_from(n).ok().and_then(|n| names.get(n)).copied().unwrap_or_default()
}

/// Parses a date, or a date and a time. Without a zone it is by a clock that is `ahead` seconds
/// ahead of UTC. Fractions of a second are ignored.
pub fn unix(text: &str, ahead: i64) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let mut parts = date.splitn(3, '-').map(|part| part.parse().ok());
    let days = days(parts.next()??, parts.next()??, parts.next()??);
    let (time, ahead) = zone(time, ahead)?;
    let whole = time.split('.').next().unwrap_or_default();
    let mut seconds = 0;
    for (part, unit) in whole.split(':').filter(|part| !part.is_empty()).zip([3_600, 60, 1]) {
        seconds += part.parse::<i64>().ok()? * unit;
    }
    Some(days * DAY + seconds - ahead)
}

/// Splits the time from its zone's offset.
fn zone(time: &str, ahead: i64) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, ahead)) };
    let (time, zone) = time.split_at(at);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.trim_start_matches(['+', '-']).split_once(':')?;
    let ahead = hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60;
    Some((time, sign * ahead))
}

/// Returns the days since 1970 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Returns year, month, day, and the second of the day.
fn civil(unix: i64) -> (i64, i64, i64, i64) {
    let days = unix.div_euclid(DAY) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day, unix.rem_euclid(DAY))
}

#[cfg(test)]
mod tests {
    use super::{http_date, iso, stamp, unix};

    #[test]
    fn moments_are_written_and_read() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso(at), text);
            assert_eq!(unix(text, 7_200), Some(at));
            assert_eq!(unix(&stamp(at, 19_800), 19_800), Some(at));
        }
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn zones_and_short_forms_are_read() {
        let at = Some(1_767_261_600);
        for text in ["2026-01-01T10:00:00.5Z", "2026-01-01 10:00", "2026-01-01T15:30:00+05:30"] {
            assert_eq!(unix(text, 0), at, "{text}");
        }
        assert_eq!(unix("2026-01-01T05:00:00-05:00", 9), at);
        assert_eq!(unix("2026-01-01", -36_000), at);
        assert_eq!(unix("yesterday", 0), None);
    }
}
