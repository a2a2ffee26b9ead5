//! Makes up plausible events for a demonstration: the catalogue's examples with other people,
//! companies and amounts.

use serde_json::Value;

use super::{SampleVariation, get};

/// The companies: name and domain.
const COMPANIES: [(&str, &str); 12] = [
    ("Harbour Logistics Ltd", "harbour-logistics.example"),
    ("Brightwater Dental", "brightwater-dental.example"),
    ("Kestrel Outdoor GmbH", "kestrel-outdoor.example"),
    ("Olive & Thyme Foods", "olive-thyme.example"),
    ("Northgate Joinery", "northgate-joinery.example"),
    ("Lumen Studio", "lumen-studio.example"),
    ("Tramontana Bikes", "tramontana-bikes.example"),
    ("Fjord Analytics AS", "fjord-analytics.example"),
    ("Copperfield Brewing", "copperfield-brewing.example"),
    ("Aster Veterinary Group", "aster-vet.example"),
    ("Meridian Freight", "meridian-freight.example"),
    ("Halcyon Hotels", "halcyon-hotels.example"),
];

/// The contact of each company: first and last name.
const PEOPLE: [(&str, &str); 12] = [
    ("Eleni", "Markou"),
    ("Tom", "Ashworth"),
    ("Julia", "Brandt"),
    ("Marco", "Conti"),
    ("Sarah", "Whitfield"),
    ("Adaeze", "Okafor"),
    ("Pau", "Ferrer"),
    ("Ingrid", "Solberg"),
    ("Daniel", "Reyes"),
    ("Mei", "Tanaka"),
    ("Omar", "Haddad"),
    ("Claire", "Dubois"),
];

/// Titles of projects, tasks and proposals.
const TITLES: [&str; 8] = [
    "Warehouse scanner rollout",
    "Website relaunch",
    "Fleet tracking pilot",
    "Point-of-sale upgrade",
    "Booking portal",
    "Stock-take automation",
    "Customer survey",
    "Backup and recovery review",
];

/// Returns the `data` of the `n`-th sample of an event type: the catalogue's example with other
/// keys, names and amounts. The same `n` always gives the same sample. Returns `None` if the type
/// is not in the catalogue.
pub fn sample(event_type: &str, n: u64) -> Option<Value> {
    let known = get().find(event_type)?;
    let mut data = known.example();
    for (path, how) in known.vary {
        if let Some(Value::String(text)) = data.pointer_mut(path) {
            *text = varied(*how, text, n);
        }
    }
    Some(data)
}

fn varied(how: SampleVariation, text: &str, n: u64) -> String {
    let (company, domain) = pick(&COMPANIES, n);
    let (first, last) = pick(&PEOPLE, n);
    match how {
        SampleVariation::Row => add(text, n),
        SampleVariation::Circle => add(text, n % COMPANIES.len() as u64),
        SampleVariation::Money => scale(text, n),
        SampleVariation::Printed => printed(text, n),
        SampleVariation::Company => company.to_owned(),
        SampleVariation::Website => format!("https://{domain}"),
        SampleVariation::First => first.to_owned(),
        SampleVariation::Last => last.to_owned(),
        SampleVariation::Person => format!("{first} {last}"),
        SampleVariation::Email => format!("{}@{domain}", first.to_lowercase()),
        SampleVariation::Title => title(text, n),
        SampleVariation::Reference => format!("{text}-{n}"),
    }
}

fn pick<T: Copy + Default, const N: usize>(from: &[T; N], n: u64) -> T {
    usize::try_from(n % N as u64).ok().and_then(|i| from.get(i)).copied().unwrap_or_default()
}

fn title(text: &str, n: u64) -> String {
    if n == 0 { text.to_owned() } else { pick(&TITLES, n).to_owned() }
}

/// Adds `n` to a key. A text that is not a number stays as it is.
fn add(text: &str, n: u64) -> String {
    text.parse::<u64>().map_or_else(|_| text.to_owned(), |key| key.saturating_add(n).to_string())
}

/// Adds `n` to the number of a text such as `INV-000128` and keeps its width.
fn printed(text: &str, n: u64) -> String {
    let prefix = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = text.strip_prefix(prefix).unwrap_or_default();
    let number: u64 = digits.parse().unwrap_or_default();
    format!("{prefix}{:0width$}", number.saturating_add(n), width = digits.len())
}

/// Multiplies an amount by a factor from 1 to 40. The factor is the same for the whole event, so
/// sums stay correct.
fn scale(text: &str, n: u64) -> String {
    let factor = i64::try_from(1 + n.wrapping_mul(7) % 40).unwrap_or(1);
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let cents: i64 = digits.replace('.', "").parse().unwrap_or_default();
    let scaled = cents.saturating_mul(factor);
    format!("{sign}{}.{:02}", scaled / 100, scaled % 100)
}
