//! `waybill completions` and `waybill man`, made from the parser's definitions.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{CliError, CommandLine, CommandScreen};

/// Arguments of `waybill completions`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell that reads the script.
    #[arg(value_enum)]
    shell: CompletionShell,
}

/// Shells with completion.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum CompletionShell {
    /// `source <(waybill completions bash)` in ~/.bashrc
    Bash,
    /// `waybill completions zsh > ~/.zfunc/_waybill`, with ~/.zfunc in fpath
    Zsh,
    /// `waybill completions fish > ~/.config/fish/completions/waybill.fish`
    Fish,
}

/// Arguments of `waybill man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write the pages of all commands into this folder instead of printing waybill(1).
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn print_completions(
    args: &CompletionArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let shell = match args.shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    // A shell may close the pipe early, so the script is written in one piece.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "waybill", &mut script);
    Ok(screen.print_bytes(&script)?)
}

pub fn print_man(args: &ManArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    let command = CommandLine::command();
    let Some(folder) = &args.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return Ok(screen.print_bytes(&page)?);
    };
    std::fs::create_dir_all(folder).map_err(CliError::writing(folder))?;
    clap_mangen::generate_to(command, folder).map_err(CliError::writing(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(shell: CompletionShell) -> String {
        let mut out = Vec::new();
        print_completions(&CompletionArgs { shell }, &mut CommandScreen::new(&mut out, false))
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_shell_gets_the_commands() {
        for shell in [CompletionShell::Bash, CompletionShell::Zsh, CompletionShell::Fish] {
            let script = script(shell);
            assert!(
                script.contains("dead-letter") && script.contains("rotate-secret"),
                "{shell:?}"
            );
        }
    }

    #[test]
    fn the_manual_is_printed_or_written() {
        let mut out = Vec::new();
        let mut screen = CommandScreen::new(&mut out, false);
        print_man(&ManArgs { dir: None }, &mut screen).unwrap();
        let page = String::from_utf8(out).unwrap();
        assert!(page.contains(".TH waybill 1") && page.contains("dead\\-letter"), "{page}");

        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("man1");
        let mut out = Vec::new();
        print_man(&ManArgs { dir: Some(dir.clone()) }, &mut CommandScreen::new(&mut out, false))
            .unwrap();
        assert!(out.is_empty());
        for name in ["waybill.1", "waybill-endpoint-create.1", "waybill-status.1"] {
            assert!(dir.join(name).exists(), "{name}");
        }
    }
}
