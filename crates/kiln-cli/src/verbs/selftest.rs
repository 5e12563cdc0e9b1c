//! `kiln selftest`: whether what kiln promises holds for a config of the user's own. Exits 1 where it does not.
//! Owns the words; kiln-train runs, kills and compares.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_train::{Resumed, Trial, selftest_resume};

use crate::hub;
use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Test on a config of your own what kiln promises
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Kill a short run of the config, resume it, and compare the weights with a run that was left alone
    Resume(Resume),
}

#[derive(Debug, clap::Args)]
struct Resume {
    /// Config file
    config: PathBuf,
    /// Overrides of the config
    #[arg(value_name = "KEY=VALUE")]
    words: Vec<String>,
    /// Optimizer steps of each run
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(4..=100_000))]
    steps: u64,
    /// How often the run is killed
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100))]
    kills: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let What::Resume(args) = args.what;
    let program = std::env::current_exe()
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot find this program's own file: {e}")))?;
    let overrides = hub::pulled(&args.config, &args.words)?;
    let Resume { config, steps, kills, .. } = args;
    let trial = Trial { program, config, overrides, steps: steps.max(2 * kills + 2), kills };
    let resumed = selftest_resume(&trial, &mut |note| report::talk(&format!("- {note}")))?;
    let text = match args.json {
        true => serde_json::to_string(&resumed)
            .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?,
        false => lines(&resumed),
    };
    stdout::line(&text)?;
    let times = resumed.killed_at.len();
    report::talk(&match resumed.is_exact() {
        true => {
            format!("killed {times} times and resumed: the same to the bit after {} steps", resumed.steps)
        }
        false => "killed and resumed: NOT the same as the run that was left alone".into(),
    });
    Ok(if resumed.is_exact() { Exit::Done } else { Exit::Failed })
}

fn lines(resumed: &Resumed) -> String {
    let line = |c: &kiln_train::Compared| match c.is_equal() {
        true => format!("same       {:.16}  {}", c.whole, c.what),
        false => format!("DIFFERENT  {:.16} and {:.16}  {}", c.whole, c.killed, c.what),
    };
    resumed.compared.iter().map(line).collect::<Vec<_>>().join("\n")
}
