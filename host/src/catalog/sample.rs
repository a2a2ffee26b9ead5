//! Makes up plausible events for a demonstration: the catalogue's examples with other people,
//! companies and amounts.

use serde_json::Value;

use super::{Vary, get};

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

fn varied(how: Vary, text: &str, n: u64) -> String {
    let (company, domain) = pick(&COMPANIES, n);
    let (first, last) = pick(&PEOPLE, n);
    match how {
        Vary::Row => add(text, n),
        Vary::Circle => add(text, n % COMPANIES.len() as u64),
        Vary::Money => scale(text, n),
        Vary::Printed => printed(text, n),
        Vary::Company => company.to_owned(),
        Vary::Website => format!("https://{domain}"),
        Vary::First => first.to_owned(),
        Vary::Last => last.to_owned(),
        Vary::Person => format!("{first} {last}"),
        Vary::Email => format!("{}@{domain}", first.to_lowercase()),
        Vary::Title => title(text, n),
        Vary::Reference => format!("{text}-{n}"),
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
