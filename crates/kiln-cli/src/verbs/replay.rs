//! `kiln replay`: one step of a run again: its samples, loss and gradient norm, and the first thing in it that is not finite.
//! Exits 1 where there is one. Owns the words; kiln-train replays.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_train::{Replay, Trouble, replay};

use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Rebuild one step of a run from the checkpoint before it, and find the first value that is not finite
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run folder
    run: PathBuf,
    /// The optimizer step, from 1, as `metrics.jsonl` counts them
    #[arg(long)]
    step: u64,
    /// device=cpu, or another override that does not change what is computed
    #[arg(value_name = "KEY=VALUE")]
    words: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let seen = replay(&args.run, args.step, &args.words, &mut |note| report::talk(&format!("- {note}")))?;
    let text = match args.json {
        true => serde_json::to_string(&seen)
            .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?,
        false => lines(&seen),
    };
    stdout::line(&text)?;
    report::talk(&verdict(&seen));
    Ok(if seen.trouble.is_some() { Exit::Failed } else { Exit::Done })
}

fn lines(seen: &Replay) -> String {
    let mut lines = vec![format!("step           {}", seen.step)];
    for (i, batch) in seen.batches.iter().enumerate() {
        lines.push(format!(
            "batch {:<2}       loss {}, samples {}",
            i + 1,
            batch.loss,
            batch.samples.join(", ")
        ));
    }
    let logged = match seen.logged_loss {
        Some(logged) if (logged - f64::from(seen.loss)).abs() <= 1e-6 * logged.abs() => " (as logged)".into(),
        Some(logged) => format!(" (the log has {logged}: another device, build or thread count?)"),
        None => String::new(),
    };
    lines.push(format!("loss           {}{logged}", seen.loss));
    lines.push(format!("gradient norm  {}", seen.grad_norm));
    lines.push(format!("learning rate  {}", seen.learning_rate));
    if let Some(reason) = &seen.left_out {
        lines.push(format!("left out       {reason}"));
    }
    lines.join("\n")
}

fn verdict(seen: &Replay) -> String {
    let Some(trouble) = &seen.trouble else { return format!("step {}: everything is finite", seen.step) };
    let Trouble { part, name, shape, value, values, batch, samples } = trouble;
    let name = if name.is_empty() { String::new() } else { format!(" `{name}` {shape:?}") };
    let (of, verb) = (shape.iter().product::<usize>(), if *values == 1 { "is" } else { "are" });
    let of_batch = batch.map(|batch| format!(" of batch {batch}")).unwrap_or_default();
    let who = if samples.is_empty() { String::new() } else { format!("; samples: {}", samples.join(", ")) };
    format!(
        "step {}: first not finite: the {part}{name}{of_batch}: {values} of {of} values {verb} not, the first is {value}{who}",
        seen.step
    )
}
