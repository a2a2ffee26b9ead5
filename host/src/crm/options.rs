//! The CRM's own settings that rules on dates depend on.

/// The rows of the table `tbloptions` that are read. No others are, because it also holds the keys
/// of payment gateways.
pub const NAMES: &[&str] =
    &["default_timezone", "contract_expiration_before", "send_estimate_expiry_reminder_before"];

/// How many days before the end something is expiring, if the CRM's settings do not say.
const FRESH_INSTALL: u16 = 4;

/// The CRM's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrmOptions {
    /// The time zone of all its times, as an IANA name.
    pub default_timezone: Option<String>,
    /// How many days before its end a contract is expiring.
    pub contract_expiration_before: u16,
    /// How many days before its last day an estimate is expiring.
    pub send_estimate_expiry_reminder_before: u16,
}

impl Default for CrmOptions {
    fn default() -> Self {
        Self {
            default_timezone: None,
            contract_expiration_before: FRESH_INSTALL,
            send_estimate_expiry_reminder_before: FRESH_INSTALL,
        }
    }
}

impl CrmOptions {
    /// Reads names and values as the table has them. A value that cannot be read counts as not set.
    pub fn read<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut options = Self::default();
        for (name, value) in rows {
            let days = || value.trim().parse().unwrap_or(FRESH_INSTALL);
            match name {
                "default_timezone" => {
                    options.default_timezone =
                        Some(value.to_owned()).filter(|zone| !zone.is_empty());
                }
                "contract_expiration_before" => options.contract_expiration_before = days(),
                "send_estimate_expiry_reminder_before" => {
                    options.send_estimate_expiry_reminder_before = days();
                }
                _ => {}
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_on_a_fresh_install() {
        let read = CrmOptions::read([("contract_expiration_before", "14"), ("smtp_password", "x")]);
        let expected = CrmOptions { contract_expiration_before: 14, ..CrmOptions::default() };
        assert_eq!(read, expected);
        let nonsense = [("default_timezone", ""), ("contract_expiration_before", "soon")];
        assert_eq!(CrmOptions::read(nonsense), CrmOptions::default());
    }
}
