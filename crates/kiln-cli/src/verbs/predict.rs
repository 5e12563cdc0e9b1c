//! `kiln predict`: one image, folder, text, table or stdin in; one JSON line an input out.
//! Owns where inputs come from and lines go; kiln-data reads, kiln-eval answers.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use kiln_core::Exit;
use kiln_core::device::DeviceSpec;
use kiln_core::files::{FileError, sync_folder};
use kiln_data::{Preprocessor, inputs};
use kiln_eval::{Answer, Bundle, Embedder, EvalError, Generation, Predictor};

use crate::report::{Failure, Outcome};
use crate::stdout::{Reader, written};
use crate::target::{self, Target};
use crate::verbs::generation::{GenerationArgs, continued};
use crate::verbs::tta::{self, Shown};

/// Answer one input, a folder, a table or stdin, as JSON lines
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run folder or model folder
    model: PathBuf,
    /// Image, folder of images, text, table (.csv .tsv .jsonl .txt), sentences (.conll), or - for stdin (texts: one a line; a table of numbers: CSV)
    #[arg(required = true)]
    inputs: Vec<String>,
    /// Write here instead of stdout; the file appears when it is complete
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
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
    /// How a language model continues each input
    #[command(flatten, next_help_heading = "Language models")]
    generation: GenerationArgs,
}

/// What answers.
enum Asked {
    Labels(Predictor),
    Continuations(Predictor, Generation),
    Embeddings(Embedder),
}

impl Asked {
    fn preprocessor(&self) -> &Preprocessor {
        match self {
            Asked::Labels(predictor) | Asked::Continuations(predictor, _) => &predictor.bundle().preprocessor,
            Asked::Embeddings(embedder) => embedder.preprocessor(),
        }
    }

    /// Answers to the inputs of every argument, in order.
    fn answers<'a>(
        &'a self,
        inputs: &'a [String],
    ) -> Box<dyn Iterator<Item = Result<Answer, EvalError>> + 'a> {
        let opened = inputs.iter().flat_map(|input| open(input, self.preprocessor()));
        match self {
            Asked::Labels(predictor) => Box::new(predictor.predict(opened)),
            Asked::Continuations(predictor, how) => {
                let generator = predictor.generator();
                Box::new(opened.map(move |(input, raw)| Ok(continued(&generator, how, input, raw))))
            }
            Asked::Embeddings(embedder) => Box::new(embedder.embed(opened)),
        }
    }
}

/// What was written.
#[derive(Default)]
struct Count {
    answered: usize,
    unanswered: usize,
    /// The first input without an answer, and why.
    first: Option<String>,
}

impl Count {
    fn add(&mut self, answer: &Answer) {
        match answer {
            Answer::Prediction(_) => self.answered += 1,
            Answer::Unanswered { error, .. } => {
                self.unanswered += 1;
                self.first.get_or_insert_with(|| error.clone());
            }
        }
    }
}

pub(crate) fn run(args: Args) -> Outcome {
    let model = Target::of(&args.model)?.model(&args.model)?;
    let chosen = target::device(args.device, None)?;
    let batch_size = args.batch_size as usize;
    let asked = match args.embed {
        true => Asked::Embeddings(Embedder::open(&model, chosen.device, batch_size)?),
        false => {
            let bundle = Bundle::open(&model, &chosen.device)?;
            let generation = args.generation.settings(&bundle)?;
            let predictor = Predictor::new(bundle, chosen.device, batch_size);
            match generation {
                Some(_) if args.tta.is_some() => {
                    let message = "--tta shows images, and this model continues texts";
                    return Err(Failure::new(Exit::Usage, message).hint("leave --tta out"));
                }
                Some(how) => Asked::Continuations(predictor, how),
                None => Asked::Labels(predictor.with_tta(tta::chosen(args.tta))),
            }
        }
    };
    let count = match &args.output {
        Some(path) => to_file(&asked, &args.inputs, path)?,
        None => answer(&asked, &args.inputs, &mut BufWriter::new(io::stdout().lock()), stdout_error)?,
    };
    if count.unanswered == 0 {
        return Ok(Exit::Done);
    }
    let all = count.answered + count.unanswered;
    let message = format!(
        "{} of {all} inputs could not be answered; the first: {}",
        count.unanswered,
        count.first.unwrap_or_default()
    );
    Err(Failure::new(Exit::Data, message)
        .hint("the line of each holds `error`; the other inputs are answered"))
}

fn answer(
    asked: &Asked,
    inputs: &[String],
    out: &mut dyn Write,
    on_error: impl Fn(io::Error) -> Result<Reader, Failure>,
) -> Result<Count, Failure> {
    let mut count = Count::default();
    for answer in asked.answers(inputs) {
        let answer = answer?;
        count.add(&answer);
        if line(out, &answer).map_or_else(&on_error, |()| Ok(Reader::There))? == Reader::Gone {
            return Ok(count);
        }
    }
    out.flush().map_or_else(&on_error, |()| Ok(Reader::There))?;
    Ok(count)
}

/// The samples of one argument; one that cannot be opened is a sample that cannot be read.
fn open(input: &str, preprocessor: &Preprocessor) -> inputs::Inputs {
    inputs::open(input, preprocessor)
        .unwrap_or_else(|error| Box::new(std::iter::once((input.to_owned(), Err(error)))))
}

fn line(out: &mut dyn Write, answer: &Answer) -> io::Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    out.write_all(b"\n")
}

fn stdout_error(error: io::Error) -> Result<Reader, Failure> {
    written(Err(error))
}

/// Lines go to a sibling first, so that FILE is never half there.
fn to_file(asked: &Asked, inputs: &[String], path: &Path) -> Result<Count, Failure> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let part = path.with_file_name(name);
    let result = fill(asked, inputs, &part).and_then(|count| {
        std::fs::rename(&part, path).map_err(FileError::at(path, "write"))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        sync_folder(folder.unwrap_or(Path::new(".")))?;
        Ok(count)
    });
    if result.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    result
}

fn fill(asked: &Asked, inputs: &[String], part: &Path) -> Result<Count, Failure> {
    let mut file = BufWriter::new(File::create(part).map_err(FileError::at(part, "create"))?);
    let count = answer(asked, inputs, &mut file, |e| Err(FileError::at(part, "write")(e).into()))?;
    file.get_ref().sync_all().map_err(FileError::at(part, "sync"))?;
    Ok(count)
}
