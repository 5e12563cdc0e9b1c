//! `kiln predict`: one image, folder, text, table or stdin in; one JSON line an input out, or a job into a file.
//! Owns the words; kiln-data reads, kiln-eval answers, kiln-serve keeps the job.

mod asked;
mod job;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use asked::Asked;
use kiln_core::Exit;
use kiln_core::device::DeviceSpec;
use kiln_data::inputs::{self, Input};
use kiln_eval::{Answer, EvalError};

use crate::report::{Failure, Outcome};
use crate::stdout::{Reader, written};
use crate::target::{self, Target};
use crate::verbs::generation::GenerationArgs;
use crate::verbs::tta::Shown;

/// Answer one input, a folder, a table or stdin, as JSON lines or into a file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run folder or model folder
    model: PathBuf,
    /// Image, folder of images, text, table (.csv .tsv .jsonl .parquet .txt, or FILE.db:TABLE of SQLite), shards (.tar),
    /// sentences (.conll), or - for stdin (texts: one a line; a table of numbers: CSV)
    #[arg(required = true)]
    inputs: Vec<String>,
    /// Inputs a batch
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
    /// Answer with sentence embeddings, by an encoder with or without a head: the mean over the text's tokens, of length 1
    #[arg(long)]
    embed: bool,
    /// Show each image more than once and average the answers
    #[arg(long, conflicts_with = "embed")]
    tta: Option<Shown>,
    /// Device; by default the first GPU, else the CPU
    #[arg(long)]
    device: Option<DeviceSpec>,
    /// A job that survives being killed
    #[command(flatten, next_help_heading = "Into a file")]
    job: job::JobArgs,
    /// How a language model continues each input
    #[command(flatten, next_help_heading = "Language models")]
    generation: GenerationArgs,
}

pub(crate) fn run(args: Args) -> Outcome {
    args.job.check()?;
    let folder = Target::of(&args.model)?.model(&args.model)?;
    let chosen = target::device(args.device, None)?;
    let device = chosen.name.clone();
    let asked = Asked::open(&args, &folder, chosen)?;
    match &args.job.output {
        Some(output) => job::run(&asked, &args, &folder, &device, output),
        None => lines(&asked, &args),
    }
}

/// A line an input to stdout, as they come.
fn lines(asked: &Asked, args: &Args) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut all, mut unanswered, mut first) = (0, 0, None);
    let mut inputs = args.inputs.iter().flat_map(|input| open(input, asked)).peekable();
    while inputs.peek().is_some() {
        let batch = inputs.by_ref().take(asked.at_once(args)).collect();
        for answer in asked.answers(batch)? {
            all += 1;
            if let Answer::Unanswered { error, .. } = &answer {
                unanswered += 1;
                first.get_or_insert_with(|| error.clone());
            }
            if written(line(&mut out, &answer))? == Reader::Gone {
                return Ok(Exit::Done);
            }
        }
        written(out.flush())?;
    }
    if unanswered == 0 {
        return Ok(Exit::Done);
    }
    let message = format!(
        "{unanswered} of {all} inputs could not be answered; the first: {}",
        first.unwrap_or_default()
    );
    Err(Failure::new(Exit::Data, message)
        .hint("the line of each holds `error`; the other inputs are answered"))
}

/// The samples of one argument; one that cannot be opened is a sample that cannot be read.
fn open(input: &str, asked: &Asked) -> inputs::Inputs {
    inputs::open(input, asked.preprocessor(), &[])
        .unwrap_or_else(|error| Box::new(std::iter::once(Input::new(input.to_owned(), Err(error)))))
}

fn line(out: &mut dyn Write, answer: &Answer) -> io::Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    out.write_all(b"\n")
}

/// Answers to some inputs, in their order.
type Answers = Result<Vec<Answer>, EvalError>;
