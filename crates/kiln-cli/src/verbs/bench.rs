//! `kiln bench`: what configs cost on devices, as a table and files; comparing and merging such files.
//! Owns the words and the printed tables; kiln-train measures, each row in a process that this verb answers for too.

use std::path::PathBuf;

use comfy_table::{ContentArrangement, Table, presets};
use kiln_core::Exit;
use kiln_train::bench::{Ask, BenchError, Comparison, Crew, METHOD, Results, Row, RowSpec, Status, compare};

use crate::hub;
use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Time training and inference of configs on devices, compare and merge such results
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    rows: Rows,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say which rows got slower from one file to another; exit 1 where one did by more than allowed
    Compare {
        /// bench.json to compare with
        first: PathBuf,
        /// bench.json that is compared
        second: PathBuf,
        /// How much slower a median may be, as 5% or 0.05
        #[arg(long, default_value = "5%", value_parser = share)]
        fail_over: f64,
    },
    /// Put the rows of many files, for example of many machines, into one
    Merge {
        /// Files named bench.json
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Folder to write to
        #[arg(short, long)]
        output: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Rows {
    /// Config files; device=cpu,cpu-plain precision=f32 batch_size=8,32 for a row of each; overrides of all configs
    #[arg(value_name = "CONFIG... [KEY=VALUE]...")]
    words: Vec<String>,
    /// Steps before the measured ones
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    warmup: u32,
    /// Measured steps at least
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    steps: u32,
    /// Seconds of measured steps at least
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Fail a row whose loss is not lower after the steps than before (one that is not finite fails always)
    #[arg(long)]
    check_loss: bool,
    /// Folder to write bench.json, bench.csv, bench.md and bench.html to
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Folder for each row's start weights and batch, for other programs
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the results as one JSON object
    #[arg(long)]
    json: bool,
    /// The process of one row: what is asked of it
    #[arg(long, hide = true, value_name = "JSON", value_parser = ask)]
    row: Option<Ask>,
}

pub(crate) fn run(args: Args) -> Outcome {
    match (args.what, args.rows) {
        (Some(What::Compare { first, second, fail_over }), _) => {
            let comparison = compare(&Results::read(&first)?, &Results::read(&second)?, fail_over);
            stdout::line(&differences(&comparison))?;
            Ok(if comparison.fails() { Exit::Failed } else { Exit::Done })
        }
        (Some(What::Merge { files, output }), _) => {
            let parts = files.iter().map(|file| Results::read(file)).collect::<Result<_, _>>()?;
            let merged = Results::merged(parts);
            merged.write(&output)?;
            stdout::line(&table(&merged))?;
            Ok(Exit::Done)
        }
        (None, Rows { row: Some(ask), .. }) => {
            let answer = ask.answer(crate::process_start())?;
            stdout::line(&to_json(&answer)?)?;
            Ok(Exit::Done)
        }
        (None, rows) => rows.run(),
    }
}

impl Rows {
    fn run(self) -> Outcome {
        let specs = self.specs()?;
        let binary = std::env::current_exe()
            .map_err(|e| Failure::new(Exit::Io, format!("cannot find the path of this binary: {e}")))?;
        let mut crew = Crew::new(binary, vec!["bench".into(), "--row".into()]);
        let results = crew.run(&specs, &mut |row| report::talk(&line(row)))?;
        if let Some(folder) = &self.output {
            results.write(folder)?;
        }
        stdout::line(&if self.json { results.json() } else { format!("{}\n\n{METHOD}", table(&results)) })?;
        let failed = results.rows.iter().any(|row| row.status == Status::Failed);
        Ok(if failed { Exit::Failed } else { Exit::Done })
    }

    /// A row for each config, device, precision and batch size.
    fn specs(&self) -> Result<Vec<RowSpec>, Failure> {
        let mut configs = Vec::new();
        let (mut devices, mut precisions, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        let mut overrides = Vec::new();
        for word in &self.words {
            let list = |value: &str| value.split(',').map(str::to_string).collect::<Vec<_>>();
            match word.split_once('=').filter(|_| !PathBuf::from(word).is_file()) {
                Some(("device", value)) => devices = list(value),
                Some(("precision", value)) => precisions = list(value),
                Some(("batch_size", value)) => {
                    batches = list(value).iter().map(|n| batch_size(n)).collect::<Result<Vec<_>, _>>()?;
                }
                Some(_) => overrides.push(word.clone()),
                None => configs.push(PathBuf::from(word)),
            }
        }
        if configs.is_empty() {
            return Err(Failure::new(Exit::Usage, "no config given")
                .hint("kiln bench CONFIG... device=cpu,... precision=f32 batch_size=8,32"));
        }
        let mut specs = Vec::new();
        for config in &configs {
            let overrides = hub::pulled(config, &overrides)?;
            let loaded = kiln_train::load::load(config, &overrides).map_err(BenchError::from)?;
            let base = RowSpec {
                config: config.clone(),
                overrides,
                device: loaded.config.device,
                precision: loaded.config.precision.to_string(),
                batch_size: None,
                warmup: self.warmup as usize,
                steps: self.steps as usize,
                seconds: self.seconds,
                check_loss: self.check_loss,
                keep: None,
            };
            let mut rows = vec![base];
            rows = crossed(rows, &devices, |row, device| row.device.clone_from(device));
            rows = crossed(rows, &precisions, |row, precision| row.precision.clone_from(precision));
            rows = crossed(rows, &batches, |row, batch| row.batch_size = Some(*batch));
            specs.extend(rows);
        }
        if let Some(folder) = &self.keep {
            for (i, spec) in specs.iter_mut().enumerate() {
                spec.keep = Some(folder.join(i.to_string()));
            }
        }
        Ok(specs)
    }
}

/// Each row once for each value; the rows themselves where there are no values.
fn crossed<T>(rows: Vec<RowSpec>, values: &[T], set: impl Fn(&mut RowSpec, &T)) -> Vec<RowSpec> {
    if values.is_empty() {
        return rows;
    }
    let with = |row: &RowSpec, value: &T| {
        let mut row = row.clone();
        set(&mut row, value);
        row
    };
    rows.iter().flat_map(|row| values.iter().map(|value| with(row, value)).collect::<Vec<_>>()).collect()
}

fn batch_size(word: &str) -> Result<usize, Failure> {
    word.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("batch_size: `{word}` is not a number of samples"))
            .hint("batch_size=8,32")
    })
}

/// `5%` or `0.05`.
fn share(word: &str) -> Result<f64, String> {
    let (number, scale) = word.strip_suffix('%').map_or((word, 1.0), |number| (number, 100.0));
    let share = number.parse::<f64>().map_err(|e| e.to_string())? / scale;
    if (0.0..=100.0).contains(&share) { Ok(share) } else { Err("expected a share such as 5% or 0.05".into()) }
}

fn seconds(word: &str) -> Result<f64, String> {
    let seconds = word.parse::<f64>().map_err(|e| e.to_string())?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("expected 0 to 86400".into()) }
}

fn ask(word: &str) -> Result<Ask, String> {
    serde_json::from_str(word).map_err(|e| e.to_string())
}

fn to_json(answer: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer).map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))
}

/// A row in a line, as it is done.
fn line(row: &Row) -> String {
    match (&row.measured, &row.reason) {
        (Some(m), _) => format!(
            "{}: train {:.2} ms ({:.1} samples/s), infer {:.2} ms ({:.1} samples/s)",
            row.key, m.train.p50_ms, m.train.samples_per_sec, m.infer.p50_ms, m.infer.samples_per_sec
        ),
        (None, reason) => format!("{}: {}", row.key, reason.as_deref().unwrap_or("no numbers")),
    }
}

fn plain(titles: Vec<&str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(titles);
    table
}

fn table(results: &Results) -> String {
    let (titles, lines) = results.table();
    let mut table = plain(titles);
    table.add_rows(lines);
    table.trim_fmt()
}

fn differences(comparison: &Comparison) -> String {
    let mut table = plain(vec!["row", "what", "first ms", "second ms", "change", ""]);
    for difference in &comparison.both {
        let ms = |i: usize| difference.ms.map_or_else(|| "-".into(), |ms| format!("{:.3}", ms[i]));
        let change =
            difference.growth.map_or_else(|| "no numbers".into(), |g| format!("{:+.1} %", 100.0 * g));
        let verdict = if difference.slower { "SLOWER" } else { "" };
        let key = difference.key.to_string();
        table.add_row([key, difference.what.into(), ms(0), ms(1), change, verdict.into()]);
    }
    let mut text = table.trim_fmt();
    for (key, which) in &comparison.alone {
        text += &format!("\nonly in {which}: {key} ({})", key.hardware);
    }
    text
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), exit: error.exit() }
    }
}
