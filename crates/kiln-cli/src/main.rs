//! The `kiln` command: words -> one library call -> exit code. The only room that prints.
//! Data goes to stdout, talk to stderr; an error is printed once, as `error:` and `hint:`.

use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use clap::{Parser, Subcommand};

mod failures;
mod hub;
mod progress;
mod report;
mod stdout;
mod target;
mod verbs;

/// Train deep networks from a config file and keep them through their whole life.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Time training and inference of configs on devices, compare and merge such results
    Bench(verbs::bench::Args),
    /// Every fault of a config and its data paths, without touching a device
    Check(verbs::check::Args),
    /// Show a config resolved, or its JSON Schema
    Config(verbs::config::Args),
    /// Count, show and divide data
    Data(verbs::data::Args),
    /// List devices, features, threads, memory and disk, and test each device
    Doctor(verbs::doctor::Args),
    /// Score a model, a run or a config's start weights on a split
    Eval(verbs::eval::Args),
    /// Write a trained model as ONNX, or as a Hugging Face folder, with a model card
    Export(verbs::export::Args),
    /// Pull a model from the Hugging Face Hub, or push one
    Hub(verbs::hub::Args),
    /// Look at data and write a config for it
    Init(verbs::init::Args),
    /// Find a learning rate: sweep it over some steps and see where the loss falls fastest
    LrFind(verbs::lr_find::Args),
    /// List model families and presets, show what a model costs, or merge an adapter
    Models(verbs::models::Args),
    /// Compare what two devices compute from the same weights and batch, layer by layer
    Parity(verbs::parity::Args),
    /// Answer one input, a folder, a table or stdin, as JSON lines
    Predict(verbs::predict::Args),
    /// Rebuild one step of a run and find the first value in it that is not finite
    Replay(verbs::replay::Args),
    /// List runs, show one with its curves, or compare some
    Runs(verbs::runs::Args),
    /// Test on a config of your own what kiln promises: kill and resume it
    Selftest(verbs::selftest::Args),
    /// Answer over HTTP: Open Inference Protocol v2, a plain endpoint, and a page to try a model
    Serve(verbs::serve::Args),
    /// Train from a config, or resume a run
    Train(verbs::train::Args),
    /// Repeat the check of an exported ONNX model from its own files
    Verify(verbs::verify::Args),
}

/// When `main` began; the time to the first step is counted from here.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// When the process started.
pub(crate) fn process_start() -> Instant {
    *STARTED.get_or_init(Instant::now)
}

fn main() -> ExitCode {
    process_start();
    kiln_core::memory::keep_pages();
    kiln_core::device::keep_kernels();
    let cli = Cli::parse();
    // A server's first thread waits for others: every computing thread is its own.
    if !matches!(cli.verb, Verb::Serve(_)) {
        kiln_nn::threads::compute_here();
    }
    let result = match cli.verb {
        Verb::Bench(args) => verbs::bench::run(args),
        Verb::Check(args) => verbs::check::run(args),
        Verb::Config(args) => verbs::config::run(args),
        Verb::Data(args) => verbs::data::run(args),
        Verb::Doctor(args) => verbs::doctor::run(args),
        Verb::Eval(args) => verbs::eval::run(args),
        Verb::Export(args) => verbs::export::run(args),
        Verb::Hub(args) => verbs::hub::run(args),
        Verb::Init(args) => verbs::init::run(args),
        Verb::Models(args) => verbs::models::run(args),
        Verb::LrFind(args) => verbs::lr_find::run(args),
        Verb::Parity(args) => verbs::parity::run(args),
        Verb::Predict(args) => verbs::predict::run(args),
        Verb::Replay(args) => verbs::replay::run(args),
        Verb::Runs(args) => verbs::runs::run(args),
        Verb::Selftest(args) => verbs::selftest::run(args),
        Verb::Serve(args) => verbs::serve::run(args),
        Verb::Train(args) => verbs::train::run(args),
        Verb::Verify(args) => verbs::verify::run(args),
    };
    ExitCode::from(match result {
        Ok(exit) => exit as u8,
        Err(failure) => report::print(&failure) as u8,
    })
}
