//! `kiln data split`: words to the rule of a split; kiln-data divides and writes.

use std::path::PathBuf;

use comfy_table::{Table, presets::NOTHING};
use kiln_core::Exit;
use kiln_data::resplit::{SPLITS, SplitOptions, Written, split};

use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Divide a table or a folder of images into train, validation and test, so that rows never move
///
/// Rows with the same content stay together (or with the same --key or --group), and where a row goes depends on a hash of
/// that alone: rows that are added later move no other. With --stratify every class is divided by the shares, and
/// split.json remembers what was decided for --update. A folder of images is not copied: the splits are tables of paths.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A .csv, .tsv or .jsonl file, or a folder of class folders
    data: PathBuf,
    /// Folder for train, validation and test tables and split.json
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Share of the rows to validate on
    #[arg(long, default_value_t = 0.1)]
    validation: f64,
    /// Share of the rows to test on
    #[arg(long, default_value_t = 0.1)]
    test: f64,
    /// Rows with the same value in this column are one; by default all columns but that of --stratify
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// Rows with the same value in this column (a patient, an author) stay in one split
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Images whose file names agree up to the first CHARACTER stay in one split
    #[arg(long, value_name = "CHARACTER")]
    group_until: Option<char>,
    /// Divide each class of this column by the shares; for images their folders, whatever is said
    #[arg(long, value_name = "COLUMN", num_args = 0..=1, default_missing_value = "label")]
    stratify: Option<String>,
    /// Any word; another word gives another split
    #[arg(long, default_value = "kiln")]
    salt: String,
    /// The first row is data: columns are called by their places from 0
    #[arg(long)]
    no_header: bool,
    /// Keep what is there where it is, and add what is new
    #[arg(long, conflicts_with = "force")]
    update: bool,
    /// Replace what an earlier call wrote
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let options = SplitOptions {
        shares: [args.validation, args.test],
        key: args.key,
        group: args.group,
        group_until: args.group_until,
        stratify: args.stratify,
        salt: args.salt,
        header: !args.no_header,
        update: args.update,
        force: args.force,
    };
    let written = split(&args.data, &args.output, &options)?;
    let text = match args.json {
        true => serde_json::to_string(&written)
            .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?,
        false => {
            report::talk(&table(&written));
            written.config
        }
    };
    stdout::line(text.trim_end())?;
    Ok(Exit::Done)
}

/// Rows of each split, and of each class in it.
fn table(written: &Written) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["", SPLITS[0], SPLITS[1], SPLITS[2]]);
    let all: usize = written.rows.iter().sum::<usize>().max(1);
    let counts = |counts: &[usize; 3]| counts.map(|n| n.to_string());
    let mut row = |name: &str, cells: [String; 3]| {
        let [a, b, c] = cells;
        table.add_row([name.to_string(), a, b, c]);
    };
    row("rows", written.rows.map(|n| format!("{n} ({:.1} %)", 100.0 * n as f64 / all as f64)));
    written.classes.iter().for_each(|(class, own)| row(class, counts(own)));
    let kept =
        if written.kept > 0 { format!("\n{} rows kept their split", written.kept) } else { String::new() };
    table.trim_fmt() + &kept
}
