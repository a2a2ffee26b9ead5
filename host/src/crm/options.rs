//! The settings of the CRM that the clock rules depend on.

/// Rows of the options table (`tbloptions`: `name`, `value`) that are read. No others: it also
/// holds keys of gateways.
pub const NAMES: &[&str] =
    &["default_timezone", "contract_expiration_before", "send_estimate_expiry_reminder_before"];

/// How many days ahead the CRM speaks of expiring, if its own table does not say.
const FRESH_INSTALL: u16 = 4;

/// What the CRM's own settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrmOptions {
    /// The time zone that all its times are in, an IANA name.
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
    /// From names and values as the table has them. A value that makes no sense counts as not set.
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
