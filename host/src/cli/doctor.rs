//! `waybill doctor`: checks the machine and the configuration, before the server starts or while it
//! runs. It does not change anything, and it connects only to the database and this machine.

pub mod checks;
pub mod finding;

use clap::Args;

use super::{CliError, CommandScreen, ServeArgs};
use crate::config::{Config, ConfigError, EnvironmentPair};
use crate::error_chain::error_chain;
use finding::{CheckFinding, CheckVerdict};

/// Arguments of `waybill doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

/// Runs all checks with the configuration that `serve` would use. Fails if one check fails.
pub async fn run_doctor(
    args: &DoctorArgs,
    environment: Vec<EnvironmentPair>,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    screen.force_json(args.json);
    let config = Config::load(args.serve.config.as_deref(), environment, &args.serve.overrides());
    let findings = match config {
        Ok(config) => {
            let mut findings = vec![CheckFinding::well("configuration", "valid")];
            findings.extend(checks::check_machine(&config, screen.clock().wall()).await);
            findings
        }
        Err(error) => configuration_faults(&error),
    };
    print_findings(&findings, screen)
}

/// Returns each fault of a configuration, with its key.
fn configuration_faults(error: &ConfigError) -> Vec<CheckFinding> {
    match error {
        ConfigError::Unreadable { .. } => {
            let next = "check the path after --config, and its permissions";
            vec![CheckFinding::failed("configuration", error_chain(error), next)]
        }
        ConfigError::Faults(faults) => {
            let fault = |fault: &crate::config::ConfigFault| {
                let key = fault.key.as_deref().unwrap_or("what is named");
                let next = format!("correct {key}; the other checks follow then");
                CheckFinding::failed("configuration", fault.to_string(), next)
            };
            faults.iter().map(fault).collect()
        }
    }
}

fn print_findings(
    findings: &[CheckFinding],
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let failed = findings.iter().filter(|one| one.result == CheckVerdict::Failed).count();
    if screen.is_human() {
        let look = screen.look();
        for finding in findings {
            screen.print_line(finding.text(look))?;
        }
        let end = match failed {
            0 => "Everything is in order.".to_owned(),
            1 => "1 check failed.".to_owned(),
            failed => format!("{failed} checks failed."),
        };
        screen.print_line(end)?;
    } else {
        let checks: Vec<_> = findings.iter().map(CheckFinding::to_json).collect();
        screen.print_json(&serde_json::json!({"is_well": failed == 0, "checks": checks}))?;
    }
    if failed == 0 { Ok(()) } else { Err(CliError::Reported) }
}
