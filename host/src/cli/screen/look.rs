//! The look of the output on a terminal: colour, signs, short ids and ages.

use clap::{Args, ValueEnum};

/// Options for the look of the output, for every command.
#[derive(Debug, Clone, Default, Args)]
pub struct LookArgs {
    /// When to use colour. `NO_COLOR` in the environment turns `auto` off.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        global = true,
        help_heading = "Output"
    )]
    color: ColorChoice,
    /// Show whole ids and cut nothing.
    #[arg(long, global = true, help_heading = "Output")]
    wide: bool,
    /// Show exact times (RFC 3339, UTC) instead of ages.
    #[arg(long, global = true, help_heading = "Output")]
    utc: bool,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal.
    #[default]
    Auto,
    /// In all text for people.
    Always,
    /// Never.
    Never,
}

/// The look of text for people. The default works on every terminal.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent property of the terminal"
)]
pub struct ScreenLook {
    /// Whether colour may be used.
    pub has_color: bool,
    /// Whether the terminal shows UTF-8, so that states have a sign before their word.
    pub has_signs: bool,
    /// Whether ids stay whole and nothing is cut.
    pub is_wide: bool,
    /// Whether times are exact instead of ages.
    pub is_exact: bool,
}

impl LookArgs {
    /// Chooses the look on a terminal, or elsewhere. `variable` reads the environment.
    pub fn choose_look(
        &self,
        terminal: bool,
        variable: impl Fn(&str) -> Option<String>,
    ) -> ScreenLook {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let plain = set("NO_COLOR").is_some() || set("TERM").is_some_and(|kind| kind == "dumb");
        let has_color = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !plain,
        };
        // The first variable that is set decides (POSIX, 8.2).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let has_signs = locale.contains("utf-8") || locale.contains("utf8");
        ScreenLook { has_color, has_signs, is_wide: self.wide, is_exact: self.utc }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(color: ColorChoice, terminal: bool, set: &[(&str, &str)]) -> ScreenLook {
        let args = LookArgs { color, ..LookArgs::default() };
        let find = |name: &str| set.iter().find(|(known, _)| *known == name);
        args.choose_look(terminal, |name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn colour_needs_a_terminal_and_obeys_no_color() {
        let has_color = |choice, terminal, set| look(choice, terminal, set).has_color;
        assert!(has_color(ColorChoice::Auto, true, &[("NO_COLOR", "")]));
        assert!(!has_color(ColorChoice::Auto, false, &[]));
        assert!(!has_color(ColorChoice::Auto, true, &[("NO_COLOR", "1")]));
        assert!(!has_color(ColorChoice::Auto, true, &[("TERM", "dumb")]));
        assert!(!has_color(ColorChoice::Never, true, &[]));
        assert!(has_color(ColorChoice::Always, true, &[("NO_COLOR", "1")]));
    }

    #[test]
    fn signs_need_a_locale_with_utf_8() {
        let has_signs = |set| look(ColorChoice::Auto, true, set).has_signs;
        assert!(has_signs(&[("LANG", "en_GB.UTF-8")]));
        assert!(!has_signs(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]));
        assert!(!has_signs(&[]));
    }
}
