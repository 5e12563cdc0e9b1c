//! `kiln train --dry-run`: what would run, in a few lines on stdout.
//! Owns the words; kiln-train does everything once.

use kiln_core::Exit;
use kiln_train::{DryRun, Session, Start};

use crate::report::Outcome;
use crate::stdout;

pub(super) fn run(start: &Start, session: &mut Session<'_>) -> Outcome {
    let done = kiln_train::dry_run(start, session)?;
    stdout::line(&text(&done))?;
    Ok(Exit::Done)
}

fn text(done: &DryRun) -> String {
    let DryRun { parameters: (all, trained), steps: (steps, a_pass), accumulation: (batches, size), .. } =
        done;
    let grouped =
        if *batches > 1 { format!("{batches} batches of {size}") } else { format!("a batch of {size}") };
    let scored = match done.evaluation {
        Some((split, seconds)) => format!("one batch of {split} in {seconds:.2} s"),
        None => "nothing: the data has neither a validation nor a test split".into(),
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut lines = vec![
        "dry run: everything was done once, nothing is left".to_string(),
        format!(
            "would train  {steps} steps ({a_pass} a pass over {} samples), {grouped} a step",
            done.train_samples
        ),
        format!("parameters   {all}, of which {trained} train"),
        format!("first step   {:.2} s, loss {}", done.step_seconds, super::loss(done.loss.into())),
        format!("evaluated    {scored}"),
        format!(
            "checkpoint   {:.1} MiB, at most {} kept: {:.1} MiB; model {:.1} MiB",
            mib(done.checkpoint_bytes),
            done.kept,
            mib(done.checkpoint_bytes * done.kept as u64),
            mib(done.model_bytes)
        ),
    ];
    lines.extend(done.peak_mib.map(|peak| format!("peak memory  {peak:.0} MiB of this process")));
    lines.push(format!("run folder   in {}", done.output_dir.display()));
    lines.join("\n")
}
