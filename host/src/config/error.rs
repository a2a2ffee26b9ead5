//! Faults of a configuration.

use std::fmt;
use std::path::PathBuf;

/// Why there is no valid configuration. The operator has to correct it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}; check the path after --config and its permissions", path.display())]
    Unreadable {
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Keys or values are wrong.
    #[error("the configuration is not valid:\n  {}", lines(.0))]
    Faults(Vec<ConfigFault>),
}

fn lines(faults: &[ConfigFault]) -> String {
    faults.iter().map(ConfigFault::to_string).collect::<Vec<_>>().join("\n  ")
}

/// One fault, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    pub origin: SettingOrigin,
    /// The key concerned, if there is one.
    pub key: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// The origin of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOrigin {
    /// A line of the file (from 1), if it is known.
    File { name: String, line: Option<usize> },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
    /// The built-in default.
    Default,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: Some(line) } => write!(f, "{name} line {line}"),
            Self::File { name, line: None } => f.write_str(name),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "option {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}
