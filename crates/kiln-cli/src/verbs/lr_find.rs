//! `kiln lr-find`: a sweep of the learning rate over some steps of a config, and the rate at which its loss falls fastest.
//! Owns the table; kiln-train sweeps.

use std::path::{Path, PathBuf};

use kiln_core::Exit;
use kiln_core::files::write_atomic;
use kiln_train::{RateCurve, Sweep, lr_find, runs};

use crate::hub;
use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Find a learning rate: sweep it over some steps of a config and see where the loss falls fastest
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Config file
    config: PathBuf,
    /// Overrides of the config
    #[arg(value_name = "KEY=VALUE")]
    words: Vec<String>,
    /// First rate
    #[arg(long, default_value_t = 1e-7)]
    from: f64,
    /// Last rate
    #[arg(long, default_value_t = 10.0)]
    to: f64,
    /// Optimizer steps between them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(20..=100_000))]
    steps: u64,
    /// Draw the curve as SVG into FILE; without a name beside the config
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    plot: Option<String>,
    /// Print one JSON object with the whole curve
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let sweep = Sweep { from: args.from, to: args.to, steps: args.steps };
    if !(sweep.from > 0.0 && sweep.from < sweep.to && sweep.to.is_finite()) {
        let message =
            format!("--from {} --to {}: expected two rates above 0, the smaller first", args.from, args.to);
        return Err(Failure::new(Exit::Usage, message).hint("for example --from 1e-7 --to 10"));
    }
    let overrides = hub::pulled(&args.config, &args.words)?;
    let curve = lr_find(&args.config, &overrides, &sweep)?;
    if let Some(plot) = &args.plot {
        draw(plot, &args.config, &curve)?;
    }
    let text = match args.json {
        true => serde_json::to_string(&curve)
            .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?,
        false => {
            report::talk(&table(&curve));
            curve.suggestion.map_or_else(String::new, |rate| format!("{rate:.1e}"))
        }
    };
    if !text.is_empty() {
        stdout::line(&text)?;
    }
    match curve.suggestion {
        Some(rate) => {
            report::talk(&format!(
                "the loss falls fastest at a learning rate of {rate:.1e}: kiln train {} optimizer.learning_rate={rate:.1e}",
                args.config.display()
            ));
            Ok(Exit::Done)
        }
        None => Err(Failure::new(Exit::Failed, "the loss falls at no rate of this sweep")
            .hint("look at the curve (--json), give more --steps, or another --from and --to")),
    }
}

/// Writes the chart, into `plot` or beside the config.
fn draw(plot: &str, config: &Path, curve: &RateCurve) -> Result<(), Failure> {
    let name = config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let path = match plot.is_empty() {
        true => config.with_file_name(format!("{name}.lr-find.svg")),
        false => PathBuf::from(plot),
    };
    let Some(svg) = runs::draw_rates(&name, curve) else {
        return Err(Failure::new(Exit::Failed, "nothing to draw: the first loss of the sweep is not finite"));
    };
    write_atomic(&path, svg.as_bytes()).map_err(|error| Failure {
        message: error.to_string(),
        hint: error.hint(),
        exit: Exit::Io,
    })?;
    report::talk(&format!("drawn: {}", path.display()));
    Ok(())
}

/// Every so many steps a line: rate, smoothed loss, and a bar of it.
fn table(curve: &RateCurve) -> String {
    let losses = || curve.points.iter().map(|point| point.smoothed);
    let (low, high) = (losses().fold(f64::INFINITY, f64::min), losses().fold(f64::NEG_INFINITY, f64::max));
    let stride = curve.points.len().div_ceil(25).max(1);
    let mut lines = vec![format!("{:>8}  {:>10}", "rate", "loss")];
    for point in curve.points.iter().step_by(stride) {
        let filled = (40.0 * (point.smoothed - low) / (high - low).max(1e-12)).round() as usize;
        let here = curve.suggestion.is_some_and(|rate| {
            let ratio = curve
                .points
                .get(stride)
                .map_or(1.0, |next| next.learning_rate / curve.points[0].learning_rate);
            (point.learning_rate..point.learning_rate * ratio).contains(&rate)
        });
        let mark = if here { "  <- falls fastest" } else { "" };
        lines.push(format!(
            "{:>8.1e}  {:>10.4}  {}{mark}",
            point.learning_rate,
            point.smoothed,
            "#".repeat(filled)
        ));
    }
    lines.join("\n")
}
