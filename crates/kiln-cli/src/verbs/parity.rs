//! `kiln parity`: whether two devices compute the same from the same weights and batch. Exits 1 where they do not.
//! Owns the table and the tolerance; kiln-train computes and compares.

use std::path::PathBuf;

use comfy_table::{ContentArrangement, Table, presets};
use kiln_core::Exit;
use kiln_train::bench::{Compared, PLAIN, Parity, Part, Place, parity};

use crate::hub;
use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Compare what two devices compute from the same weights and batch, layer by layer
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Config file
    config: PathBuf,
    /// device=A,B (by default cpu,cpu-plain: the processor's own forms of ops and Burn's), and overrides of the config
    #[arg(value_name = "KEY=VALUE")]
    words: Vec<String>,
    /// Largest difference allowed, relative to the largest value of a tensor
    #[arg(long, default_value_t = 1e-3)]
    tolerance: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let (devices, words): (Vec<String>, Vec<String>) =
        args.words.into_iter().partition(|word| word.starts_with("device="));
    let [first, second] = places(devices.last().and_then(|word| word.strip_prefix("device=")))?;
    let overrides = hub::pulled(&args.config, &words)?;
    let parity = parity(&args.config, &overrides, &first, &second)?;
    let diverges = parity.diverges(args.tolerance);
    let text = if args.json { to_json(&parity)? } else { table(&parity, args.tolerance) };
    stdout::line(&text)?;
    report::talk(&verdict(&parity, diverges, args.tolerance));
    Ok(if diverges.is_some() { Exit::Failed } else { Exit::Done })
}

fn places(devices: Option<&str>) -> Result<[Place; 2], Failure> {
    let words = devices.map_or_else(|| format!("cpu,{PLAIN}"), str::to_string);
    let two = words.split(',').map(str::parse).collect::<Result<Vec<Place>, _>>()?;
    two.try_into().map_err(|_| {
        Failure::new(Exit::Usage, format!("device={words}: expected two devices"))
            .hint(format!("for example device=cpu,wgpu:0 or device=cpu,{PLAIN}"))
    })
}

fn verdict(parity: &Parity, diverges: Option<&Compared>, tolerance: f64) -> String {
    let Parity { first, second, .. } = parity;
    match diverges {
        Some(found) => format!(
            "{second} diverges from {first}: first at {} {}, by {:.1e} of its largest value (tolerance {tolerance:.0e})",
            word(found.part),
            found.name,
            found.difference
        ),
        None => {
            format!("{second} agrees with {first}: everything within {tolerance:.0e} of the largest value")
        }
    }
}

fn word(part: Part) -> &'static str {
    match part {
        Part::Layer => "layer",
        Part::Output | Part::Loss => "the",
        Part::Gradient => "gradient of",
        Part::Update => "update of",
    }
}

fn table(parity: &Parity, tolerance: f64) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["what", "", "largest", "difference", ""]);
    for Compared { part, name, largest, difference } in &parity.compared {
        let verdict = if *difference > tolerance { "DIVERGES" } else { "" };
        table.add_row([
            word(*part).to_string(),
            name.clone(),
            format!("{largest:.3e}"),
            format!("{difference:.1e}"),
            verdict.into(),
        ]);
    }
    table.trim_fmt()
}

fn to_json(parity: &Parity) -> Result<String, Failure> {
    serde_json::to_string(parity).map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))
}
