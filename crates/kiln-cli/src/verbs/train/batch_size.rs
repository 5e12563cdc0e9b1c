//! `kiln train CONFIG --find-batch-size`: a table of micro-batches on stdout, and the setting to write.
//! Owns the words; kiln-train searches, and this binary's `bench --row` is each try.

use std::time::Duration;

use kiln_core::Exit;
use kiln_train::Start;
use kiln_train::bench::{Crew, Found, RowSpec, Status, Tried, find_batch_size};
use kiln_train::load;

use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Of one try.
const LIMIT: Duration = Duration::from_secs(1800);
/// More samples than this are no micro-batch.
const MOST: usize = 65_536;

pub(super) fn run(start: &Start) -> Outcome {
    let Start::New { config, overrides } = start else {
        return Err(Failure::new(Exit::Usage, "--find-batch-size needs a config file")
            .hint("write one: kiln init DATA"));
    };
    let loaded = load::load(config, overrides)?;
    let loader = loaded.config.data.loader();
    if loader.max_tokens.is_some() {
        let message = "data.loader.max_tokens fills batches by tokens, and not by samples";
        return Err(Failure::new(Exit::Usage, message).hint("lower max_tokens where memory runs out"));
    }
    let binary = std::env::current_exe()
        .map_err(|e| Failure::new(Exit::Io, format!("cannot find the path of this binary: {e}")))?;
    let crew = Crew::new(binary, vec!["bench".into(), "--row".into()], LIMIT);
    let spec = RowSpec {
        config: config.clone(),
        overrides: overrides.clone(),
        device: loaded.config.device.clone(),
        precision: loaded.config.precision.to_string(),
        batch_size: None,
        longest: true,
        warmup: 2,
        steps: 5,
        seconds: 1.0,
        check_loss: false,
        keep: None,
    };
    report::talk(HEAD);
    let found = find_batch_size(&crew, &spec, MOST, &mut |tried| report::talk(&line(tried)))?;
    let group = loader.batch_size * loaded.config.train.gradient_accumulation_steps as usize;
    let lines: Vec<String> = found.tried.iter().map(line).collect();
    stdout::line(&format!("{HEAD}\n{}\n{}", lines.join("\n"), advice(&found, group)?))?;
    Ok(Exit::Done)
}

const HEAD: &str = "  batch  samples/s    step ms  memory MiB";

fn line(tried: &Tried) -> String {
    let cell = |value: Option<f64>, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}"));
    let reason = match (&tried.reason, tried.status) {
        (Some(reason), Status::OutOfMemory) => format!("  out of memory: {reason}"),
        (Some(reason), _) => format!("  {reason}"),
        (None, _) => String::new(),
    };
    format!(
        "{:>7}  {:>9}  {:>9}  {:>10}{reason}",
        tried.batch_size,
        cell(tried.samples_per_second, 1),
        cell(tried.step_ms, 1),
        cell(tried.memory_mib, 0)
    )
}

/// What to write: the same samples a step as the config has, in micro-batches that are fast.
fn advice(found: &Found, group: usize) -> Result<String, Failure> {
    let Some(fastest) = found.fastest else {
        let reason = found.tried.last().and_then(|tried| tried.reason.clone()).unwrap_or_default();
        return Err(Failure::new(Exit::Failed, format!("not even a batch of one sample was run: {reason}"))
            .hint(
                "choose a smaller model or shorter samples, or set train.activation_checkpointing = true",
            ));
    };
    let micro = (1..=fastest.min(group)).rev().find(|n| group.is_multiple_of(*n)).unwrap_or(1);
    let accumulation = group / micro;
    let same = format!(
        "{group} samples a step as now: data.loader.batch_size={micro} train.gradient_accumulation_steps={accumulation}"
    );
    let largest = found.largest.unwrap_or(fastest);
    let edge = match found.ended_by_memory {
        true => format!("the largest that was run is {largest}; larger ones do not fit"),
        false => format!("{largest} fits too and is no faster"),
    };
    let other = match fastest > group {
        true => format!("\n{fastest} samples a step (another training): data.loader.batch_size={fastest}"),
        false => String::new(),
    };
    Ok(format!("fastest micro-batch: {fastest} ({edge})\n{same}{other}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fastest: Option<usize>) -> Found {
        Found { tried: Vec::new(), fastest, largest: fastest, ended_by_memory: true }
    }

    #[test]
    fn the_samples_of_a_step_stay_what_they_are() {
        let said = |fastest, group| advice(&found(Some(fastest)), group).unwrap();
        assert!(
            said(24, 64).contains("batch_size=16 train.gradient_accumulation_steps=4"),
            "{}",
            said(24, 64)
        );
        assert!(said(64, 64).contains("batch_size=64 train.gradient_accumulation_steps=1"));
        assert!(said(6, 7).contains("batch_size=1 train.gradient_accumulation_steps=7"));
        let more = said(256, 32);
        assert!(more.contains("batch_size=32 train.gradient_accumulation_steps=1"), "{more}");
        assert!(more.contains("256 samples a step (another training): data.loader.batch_size=256"), "{more}");
        assert!(!said(32, 32).contains("another training"));
        assert_eq!(advice(&found(None), 8).unwrap_err().exit, Exit::Failed);
    }
}
