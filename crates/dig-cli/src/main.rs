//! `dignet`: share a file or folder, and get it on another machine, verified byte by byte.
//!
//! The program only translates: the command line into calls of [`dig`], its events into words for
//! people (standard error) or JSON lines for programs (standard output), its errors into exit codes.

mod args;
mod doctor;
mod exit;
mod get;
mod gun;
mod interrupt;
mod ls;
mod node;
mod output;
mod relay;
mod share;
mod text;

use args::{Cli, Command};
use clap::{CommandFactory as _, Parser as _};
use exit::{Failure, Kind};
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    start_log(cli.global.log.as_deref());
    let output = Output::new(cli.global.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return output.failure(&Failure::new(Kind::Other, error)),
    };
    let outcome = runtime.block_on(run(cli, &output));
    // Blocking reads of standard input, say, must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failure(&failure),
    }
}

async fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    match cli.command {
        Command::Share(args) => share::run(&cli.global, args, output).await,
        Command::Get(args) => get::run(&cli.global, args, output).await,
        Command::Ls(args) => ls::run(&cli.global, args, output).await,
        Command::Relay(args) => relay::run(&cli.global, args, output).await,
        Command::Doctor(args) => doctor::run(&cli.global, args, output).await,
        Command::Id(args) => node::print_id(&cli.global, &args, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "dignet", &mut script);
            output.document(&script);
            Ok(())
        }
        Command::Man => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(|error| Failure::new(Kind::Other, error))?;
            output.document(&page);
            Ok(())
        }
    }
}

/// Help and version go to standard output and are no error; programs that asked for JSON get one.
fn usage(error: &clap::Error) -> ExitCode {
    let asked_for_json = std::env::args_os().any(|arg| arg == "--json");
    if error.use_stderr() && asked_for_json {
        let text = error.to_string();
        // The first paragraph is what is wrong; the rest is advice.
        let paragraph = text.trim_start_matches("error: ").lines();
        let paragraph = paragraph.take_while(|line| !line.is_empty());
        let words: Vec<&str> = paragraph.map(str::trim).collect();
        let message = text::name(&words.join(" "));
        let failure = Failure::new(Kind::Usage, message).hint("see dignet --help");
        return Output::new(true).failure(&failure);
    }
    let _ = error.print();
    ExitCode::from(if error.use_stderr() {
        Kind::Usage as u8
    } else {
        0
    })
}

fn start_log(level: Option<&str>) {
    let Some(level) = level else { return };
    let filter = tracing_subscriber::EnvFilter::try_new(level).unwrap_or_default();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
