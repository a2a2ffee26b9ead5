//! Collects settings from the file, the environment and the command line, each with its origin.

use std::ops::Range;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::{Config, ConfigFault, KEYS, SettingOrigin, secret};

/// Name and value of an environment variable.
pub type EnvironmentPair = (String, String);

/// A key that an option of the command line sets.
#[derive(Debug, Clone)]
pub struct KeyOverride {
    /// One of [`KEYS`].
    pub key: &'static str,
    /// The option, such as `--listen`.
    pub flag: &'static str,
    /// The value, parsed like one in the environment.
    pub value: String,
}

/// Variables that are not `WAYBILL_SECTION__KEY`. The last five are for the client side of the
/// command line.
const SPECIAL: [&str; 9] = [
    "WAYBILL_ADMIN_TOKEN",
    "WAYBILL_SECRET_KEY",
    "WAYBILL_SECRET_KEY_NEXT",
    "WAYBILL_LOG",
    "WAYBILL_CONFIG",
    "WAYBILL_URL",
    "WAYBILL_TOKEN",
    "WAYBILL_CA_FILE",
    "WAYBILL_PASSPHRASE",
];

/// A value for a key.
pub struct KeySetting {
    key: &'static str,
    origin: SettingOrigin,
    /// Possible readings of the value, of which the first valid one counts: a TOML literal, then
    /// the bare text.
    readings: Vec<Value>,
}

impl KeySetting {
    pub fn apply(&self, config: &mut Config) -> Result<(), ConfigFault> {
        let mut message = None;
        for value in &self.readings {
            match config.set(self.key, value.clone()) {
                Ok(()) => return Ok(()),
                Err(error) => message = message.or(Some(error)),
            }
        }
        let (origin, key) = (self.origin.clone(), Some(self.key.to_owned()));
        Err(ConfigFault {
            origin,
            key,
            message: message.unwrap_or_else(|| "it has no value".to_owned()),
        })
    }
}

/// The origin that last set each key.
#[derive(Default)]
pub struct SettingOrigins(Vec<(&'static str, SettingOrigin)>);

impl SettingOrigins {
    pub fn note(&mut self, setting: &KeySetting) {
        self.0.push((setting.key, setting.origin.clone()));
    }

    pub fn fault(&self, key: &str, message: String) -> ConfigFault {
        let found = self.0.iter().rev().find(|(set, _)| *set == key);
        let origin = found.map_or(SettingOrigin::Default, |(_, origin)| origin.clone());
        ConfigFault { origin, key: Some(key.to_owned()), message }
    }
}

/// Collects all settings in order of precedence. The special variables are stored directly in
/// `config`.
pub fn collect_settings(
    file: Option<(&str, &str)>,
    environment: impl IntoIterator<Item = EnvironmentPair>,
    overrides: &[KeyOverride],
    config: &mut Config,
    faults: &mut Vec<ConfigFault>,
) -> Vec<KeySetting> {
    let mut settings = Vec::new();
    if let Some((name, text)) = file {
        from_file(name, text, &mut settings, faults);
    }
    for (name, value) in environment {
        match name.as_str() {
            "WAYBILL_ADMIN_TOKEN" => match secret::read_admin_token(value) {
                Ok(token) => config.admin_token = Some(token),
                Err(message) => faults.push(environment_fault(name, message)),
            },
            "WAYBILL_SECRET_KEY" => match secret::read_secret_key(value) {
                Ok(key) => config.secret_key = Some(key),
                Err(message) => faults.push(environment_fault(name, message)),
            },
            "WAYBILL_SECRET_KEY_NEXT" => match secret::read_secret_key(value) {
                Ok(key) => config.next_secret_key = Some(key),
                Err(message) => faults.push(environment_fault(name, message)),
            },
            "WAYBILL_LOG" => config.log_filter = Some(value),
            _ => from_variable(name, &value, &mut settings, faults),
        }
    }
    settings.extend(overrides.iter().map(|given| KeySetting {
        key: given.key,
        origin: SettingOrigin::Flag(given.flag),
        readings: readings(&given.value),
    }));
    settings
}

fn environment_fault(name: String, message: String) -> ConfigFault {
    ConfigFault { origin: SettingOrigin::Environment(name), key: None, message }
}

fn from_file(
    name: &str,
    text: &str,
    settings: &mut Vec<KeySetting>,
    faults: &mut Vec<ConfigFault>,
) {
    let at = |span: Range<usize>| SettingOrigin::File {
        name: name.to_owned(),
        line: line_of(text, &span),
    };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let origin = at(error.span().unwrap_or_default());
            faults.push(ConfigFault { origin, key: None, message: error.message().to_owned() });
            return;
        }
    };
    for (section, value) in table.get_ref() {
        let DeValue::Table(keys) = value.get_ref() else {
            faults.push(unknown(at(section.span()), section.get_ref()));
            continue;
        };
        if keys.is_empty()
            && !KEYS.iter().any(|key| key.starts_with(&format!("{}.", section.get_ref())))
        {
            faults.push(unknown(at(section.span()), section.get_ref()));
        }
        for (key, value) in keys {
            let full = format!("{}.{}", section.get_ref(), key.get_ref());
            let origin = at(key.span());
            match known(&full) {
                Some(key) => {
                    settings.push(KeySetting {
                        key,
                        origin,
                        readings: value_at(text, value.span()),
                    });
                }
                None => faults.push(unknown(origin, &full)),
            }
        }
    }
}

/// Returns the value in a span of the text, which the parser has recognised as a value.
fn value_at(text: &str, span: Range<usize>) -> Vec<Value> {
    text.get(span).and_then(|literal| literal.parse().ok()).into_iter().collect()
}

fn line_of(text: &str, span: &Range<usize>) -> Option<usize> {
    Some(text.get(..span.start)?.matches('\n').count() + 1)
}

fn from_variable(
    name: String,
    value: &str,
    settings: &mut Vec<KeySetting>,
    faults: &mut Vec<ConfigFault>,
) {
    let Some(rest) = name.strip_prefix("WAYBILL_") else { return };
    let full = rest.to_lowercase().replace("__", ".");
    if let Some(key) = known(&full) {
        settings.push(KeySetting {
            key,
            origin: SettingOrigin::Environment(name),
            readings: readings(value),
        });
    } else if rest.contains("__") {
        faults.push(unknown(SettingOrigin::Environment(name), &full));
    } else if let Some(meant) = misspelt(&name) {
        let message = format!("there is no such variable; {meant} was probably meant");
        faults.push(ConfigFault { origin: SettingOrigin::Environment(name), key: None, message });
    }
}

/// Returns the variable that was probably meant. Other programs may use the same prefix, so only a
/// near match counts as a misspelling.
fn misspelt(name: &str) -> Option<String> {
    let ours =
        SPECIAL.iter().map(|name| (*name).to_owned()).chain(KEYS.iter().map(|key| variable(key)));
    let scored = ours.map(|ours| (strsim::normalized_levenshtein(&ours, name), ours));
    let (likeness, meant) = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (likeness > 0.85 && likeness < 1.0).then_some(meant)
}

fn variable(key: &str) -> String {
    format!("WAYBILL_{}", key.to_uppercase().replace('.', "__"))
}

fn known(key: &str) -> Option<&'static str> {
    KEYS.into_iter().find(|known| *known == key)
}

fn unknown(origin: SettingOrigin, key: &str) -> ConfigFault {
    let scored = KEYS.iter().map(|known| (strsim::jaro_winkler(known, key), known));
    let nearest = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
    let hint = match (nearest, &origin) {
        (Some((_, key)), SettingOrigin::Environment(_)) => {
            format!("; the nearest known one is {}", variable(key))
        }
        (Some((_, key)), _) => format!("; the nearest known one is {key}"),
        (None, _) => String::new(),
    };
    ConfigFault {
        origin,
        key: Some(key.to_owned()),
        message: format!("there is no such key{hint}"),
    }
}

fn readings(text: &str) -> Vec<Value> {
    text.parse::<Value>().ok().into_iter().chain([Value::String(text.to_owned())]).collect()
}
