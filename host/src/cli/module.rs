//! `waybill module …`: everything from a new project to a module in the server.

pub mod build;
pub mod cases;
pub mod golden;
pub mod golden_files;
pub mod logs;
pub mod manage;
pub mod manifest;
pub mod new;
pub mod project;
pub mod run;
pub mod scaffold;
pub mod secret;
pub mod toolchain;
pub mod trial;

use clap::Subcommand;

use super::{CliError, CommandScreen};

pub use manage::{ModuleUpload, upload_module, versions};

/// The subcommands of `waybill module`.
#[derive(Debug, Subcommand)]
pub enum ModuleCommand {
    /// Write a new module project in Rust, TypeScript or Python, with an example and a test.
    New(new::NewArgs),
    /// Compile the project to a WebAssembly component.
    Build(build::BuildArgs),
    /// Put a manifest into a component of any language.
    Embed(manifest::EmbedArgs),
    /// Show the manifest of a component, and the capabilities that a server grants it.
    Inspect(manifest::InspectArgs),
    /// Manage secrets that modules use by name and never see.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Run a component on one event locally, without a server.
    Run(run::RunArgs),
    /// Run the tests of the project or the cases of a folder here, or the sample cases of a version
    /// in the server.
    Test(cases::TestModuleArgs),
    /// Upload a component as the next version.
    Push(manage::PushArgs),
    /// List the server's modules and their versions.
    List(super::resource::ListArgs),
    /// Show a module's versions.
    Show(manage::ShowArgs),
    /// Show the latest log lines of a module on the node that answers.
    Logs(logs::LogsArgs),
    /// Make a version the active one. Also returns to an older version.
    Activate(manage::ActivateArgs),
    /// Run a version beside the active one on live events, without effect, and compare the results.
    Shadow(trial::ShadowArgs),
    /// Run a version instead of the active one for a share of the records; also changes the share.
    Canary(trial::CanaryArgs),
    /// Show how the version on trial compares with the active one.
    Trial(trial::TrialArgs),
    /// Make the version on trial the active one.
    Promote(trial::PromoteArgs),
    /// End the trial of a version: the active version runs all events again.
    Rollback(trial::TrialArgs),
}

pub async fn run_module(
    command: ModuleCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        ModuleCommand::New(args) => new::run_new(&args, screen),
        ModuleCommand::Build(args) => build::run_build(&args, screen).await,
        ModuleCommand::Embed(args) => manifest::embed(&args, screen),
        ModuleCommand::Inspect(args) => manifest::inspect(args, screen).await,
        ModuleCommand::Secret(command) => secret::run_secret(command, screen).await,
        ModuleCommand::Run(args) => run::run_locally(&args, screen).await,
        ModuleCommand::Test(args) => cases::test_module(args, screen).await,
        ModuleCommand::Push(args) => manage::push_module(args, screen).await,
        ModuleCommand::List(args) => manage::list_modules(args, screen).await,
        ModuleCommand::Show(args) => manage::show_module(args, screen).await,
        ModuleCommand::Logs(args) => logs::show_logs(args, screen).await,
        ModuleCommand::Activate(args) => manage::activate_module(args, screen).await,
        ModuleCommand::Shadow(args) => trial::begin_shadow(args, screen).await,
        ModuleCommand::Canary(args) => trial::begin_canary(args, screen).await,
        ModuleCommand::Trial(args) => trial::show_trial(args, screen).await,
        ModuleCommand::Promote(args) => trial::promote_module(args, screen).await,
        ModuleCommand::Rollback(args) => trial::roll_back(args, screen).await,
    }
}
