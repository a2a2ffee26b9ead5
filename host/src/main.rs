//! The program: reads arguments and configuration, runs, and reports failures.

use clap::{CommandFactory as _, FromArgMatches as _};
use std::io::{BufReader, ErrorKind, IsTerminal as _, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;
use waybill::{
    CliCommand, CliError, Clock, CommandLine, CommandScreen, Config, ModuleLimits, ServeArgs,
    Server, ServerError, compile_child, error_messages, run_backup, run_command, run_demo,
    run_doctor, run_key, start_command_log, start_server_log, wants_json,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = CommandLine::command().get_matches();
    let CommandLine { command, look } = match CommandLine::from_arg_matches(&matches) {
        Ok(line) => line,
        Err(error) => error.exit(),
    };
    if matches!(command, CliCommand::CompileModule) {
        return compile_child(&ModuleLimits::default(), stdin(), stdout(), stderr());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    if let CliCommand::Serve(args) = command {
        return match runtime.block_on(serve(&args)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(ProgramFailure::Usage(error)) => {
                failed(&*error);
                ExitCode::from(2)
            }
            Err(ProgramFailure::Server(error)) => failed(&error),
        };
    }
    let is_terminal = stdout().is_terminal();
    let (mut out, mut answers) = (stdout(), BufReader::new(stdin()));
    let mut screen = CommandScreen::new(&mut out, is_terminal);
    screen.set_look(look.choose_look(is_terminal, |name| std::env::var(name).ok()));
    if stdin().is_terminal() {
        screen.set_answers(&mut answers);
    }
    match runtime.block_on(client(command, &mut screen)) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe, as `head` does.
        Err(CliError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(CliError::Reported) => ExitCode::FAILURE,
        Err(error) => {
            if wants_json(&matches) {
                drop(writeln!(stderr(), "{}", error.to_json()));
            } else {
                failed(&error);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

async fn client(command: CliCommand, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    if let CliCommand::Doctor(args) = &command {
        return run_doctor(args, std::env::vars().collect(), screen).await;
    }
    if let CliCommand::Backup(args) = &command {
        return run_backup(args, std::env::vars().collect(), screen).await;
    }
    if let CliCommand::Key(command) = &command {
        start_command_log("warn");
        return run_key(command, std::env::vars().collect(), screen).await;
    }
    let CliCommand::Demo(args) = command else { return run_command(command, screen).await };
    start_command_log("warn");
    run_demo(&args, std::env::current_exe()?, screen).await
}

enum ProgramFailure {
    Usage(Box<dyn std::error::Error>),
    Server(ServerError),
}

async fn serve(args: &ServeArgs) -> Result<(), ProgramFailure> {
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let config = Config::load(args.config.as_deref(), environment, &args.overrides())
        .map_err(|error| ProgramFailure::Usage(error.into()))?;
    let log_queue = start_server_log(&config);
    let program = std::env::current_exe().map_err(|error| ProgramFailure::Usage(error.into()))?;
    // Installed before the server announces itself, so that a signal during startup also stops it
    // in order.
    let ended = ended();
    let server = Server::open(config, Clock::System, program, log_queue)
        .await
        .map_err(ProgramFailure::Server)?;
    let mut out = stdout();
    // Standard output may be closed, so a failed write is ignored.
    drop(announce(&mut out, &server));
    server.run(ended).await;
    Ok(())
}

fn announce(out: &mut impl std::io::Write, server: &Server) -> std::io::Result<()> {
    if let Some(token) = &server.new_token {
        writeln!(out, "admin token, shown only now: {token}")?;
    }
    let (version, scheme) = (env!("CARGO_PKG_VERSION"), server.scheme());
    writeln!(out, "waybill {version} on {scheme}://{}/admin, ready", server.address)?;
    out.flush()
}

/// Listens for SIGTERM and SIGINT from now on. The future ends at the first signal.
fn ended() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "cannot receive signals; kill the process to stop it");
                std::future::pending::<()>().await;
            }
        }
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let messages: Vec<String> = error_messages(error).collect();
    let text = messages.join("\n  because: ");
    drop(writeln!(stderr(), "waybill: {text}"));
    ExitCode::FAILURE
}
