//! `kiln hub`: a model from the Hugging Face Hub into the cache, and a run's model to the Hub.
//! Owns its words; kiln-hub pulls and pushes. The folder or the commit's page goes to stdout.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_hub::{Name, Push, Settings};

use crate::hub;
use crate::report::{self, Outcome};
use crate::stdout;
use crate::target::Target;

/// Pull a model from the Hugging Face Hub, or push one
#[derive(Debug, clap::Args)]
#[command(after_help = "HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE are honoured; \
                        the cache is that of Python's huggingface_hub.")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Bring a model into the cache and print its folder
    Pull {
        /// org/name, or org/name@revision for a branch, tag or commit
        name: Name,
    },
    /// Make one commit of a model's files and print its page
    Push {
        /// org/name, or org/name@branch; made if it is not there
        name: Name,
        /// Run folder or model folder
        model: PathBuf,
        /// First line of the commit
        #[arg(long, default_value = "Upload a model trained with kiln")]
        message: String,
        /// A model that is made now is seen by its owners alone
        #[arg(long)]
        private: bool,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    let settings = Settings::from_env();
    match args.what {
        What::Pull { name } => {
            let pulled = kiln_hub::pull(&name, &settings)?;
            hub::tell(&name, &pulled);
            stdout::line(&pulled.folder.display().to_string())?;
        }
        What::Push { name, model, message, private } => {
            let folder = match model.join("adapter_config.json").is_file() {
                true => model,
                false => Target::of(&model)?.model(&model)?,
            };
            let push = Push { folder: &folder, message: &message, private };
            let pushed = kiln_hub::push(&name, &push, &settings)?;
            let (commit, files) = (&pushed.commit, pushed.files.join(", "));
            report::talk(&format!("{name}: commit {commit} with {files}"));
            stdout::line(&pushed.url)?;
        }
    }
    Ok(Exit::Done)
}
