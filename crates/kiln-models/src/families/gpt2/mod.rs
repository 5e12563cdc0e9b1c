//! GPT-2 (Radford et al., 2019) of any size and nanoGPT's form of it: config, `config.json`, checks, choice of head.
//! Owns what kiln refuses and the tied output layer's place in files; never a forward pass (`net` has it).
//! Reference: `transformers`' GPT-2 classes; a saved folder opens there, and one from there here.

mod net;
mod sizes;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use kiln_core::{InputSpec, Net, StateDict, TaskKind};

use super::{Activation, Facts, wrong_branch, wrong_input, wrong_task};
use crate::config::Gpt2Config;
use crate::{Card, ModelConfig, ModelError, card};
use sizes::Sizes;

pub(super) struct Family;

const HAS: [TaskKind; 5] = [
    TaskKind::CausalLanguageModeling,
    TaskKind::Classification,
    TaskKind::MultiLabelClassification,
    TaskKind::Regression,
    TaskKind::TokenClassification,
];

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "gpt2"
    }

    fn model_type(&self) -> &'static str {
        "gpt2"
    }

    fn description(&self) -> &'static str {
        "GPT-2 decoder, also in nanoGPT's form: continues texts, or answers them"
    }

    fn has_blocks(&self) -> bool {
        true
    }

    fn head(&self, card: &Card) -> Result<&'static str, ModelError> {
        Ok(match card.task()? {
            TaskKind::CausalLanguageModeling => "lm_head",
            TaskKind::TokenClassification => "classifier",
            _ => "score",
        })
    }

    fn facts(&self, card: &Card) -> Result<Facts, ModelError> {
        let sizes: Sizes = card.sizes()?;
        let exact = sizes.activation_function == "gelu";
        Ok(Facts {
            heads: sizes.n_head,
            eps: sizes.layer_norm_epsilon,
            activation: if exact { Activation::Gelu } else { Activation::GeluTanh },
            ..Facts::default()
        })
    }

    fn base_prefix(&self) -> &'static str {
        "transformer."
    }

    /// The output layer of a file is its embedding once more; older files hold the causal masks too.
    fn take_in(&self, card: &Card, state: &mut StateDict) -> Result<(), ModelError> {
        let sizes: Sizes = card.sizes()?;
        state.retain(|name, _| !name.ends_with(".attn.bias") && !name.ends_with(".attn.masked_bias"));
        if let Some(head) = state.remove("lm_head.weight") {
            let tied = state.get("transformer.wte.weight").is_none_or(|wte| *wte == head);
            if !tied && card.task()? == TaskKind::CausalLanguageModeling {
                return Err(untied());
            }
        }
        if !sizes.bias {
            let zero = |data: &TensorData| data.clone().convert::<f32>().iter::<f32>().all(|v| v == 0.0);
            state.retain(|name, data| !has_no_bias(name) || !zero(data));
        }
        Ok(())
    }

    /// Where the net has no biases, its folder has zeros.
    fn give_out(&self, card: &Card, state: &mut StateDict) -> Result<(), ModelError> {
        let sizes: Sizes = card.sizes()?;
        if sizes.bias {
            return Ok(());
        }
        let of = |(name, data): (&String, &TensorData)| {
            let bias = format!("{}bias", name.strip_suffix("weight")?);
            let width = *data.shape().to_vec().last()?;
            has_no_bias(&bias).then(|| (bias, TensorData::zeros::<f32, _>([width])))
        };
        let zeros: Vec<_> = state.iter().filter_map(of).collect();
        state.extend(zeros);
        Ok(())
    }

    fn card(
        &self,
        config: &ModelConfig,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
    ) -> Result<Card, ModelError> {
        if !HAS.contains(&task) {
            return Err(wrong_task("gpt2", task, &HAS));
        }
        let ModelConfig::Gpt2(config) = config else { return Err(wrong_branch(config)) };
        let InputSpec::Tokens { vocab_size, max_length, pad_id } = input else {
            return Err(wrong_input("gpt2", "text", input));
        };
        let mut sizes = match pretrained_folder(config) {
            Some(folder) => sizes_of(&folder)?.with_config(config, &folder)?,
            None => Sizes::from_config(config, *vocab_size, *max_length)?,
        };
        sizes.check()?;
        sizes.check_input(*vocab_size, *max_length)?;
        if task != TaskKind::CausalLanguageModeling {
            sizes.pad_token_id = Some(*pad_id);
        }
        Card::new(architecture(task), self.model_type(), input, labels, task, &sizes)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes: Sizes = card.sizes()?;
        sizes.check()?;
        if let Some(InputSpec::Tokens { vocab_size, max_length, .. }) = card.kiln_input {
            sizes.check_input(vocab_size, max_length)?;
        }
        Ok(match card.task()? {
            TaskKind::CausalLanguageModeling => Box::new(net::LmHeadModel::new(&sizes, device)),
            TaskKind::TokenClassification => {
                Box::new(net::TokenClassification::new(&sizes, card.num_labels(), device))
            }
            _ => Box::new(net::SequenceClassification::new(&sizes, card.num_labels(), device)),
        })
    }

    fn input(&self, card: &Card) -> Result<InputSpec, ModelError> {
        if let Some(input) = &card.kiln_input {
            return Ok(input.clone());
        }
        let sizes: Sizes = card.sizes()?;
        let (vocab_size, max_length) = (sizes.vocab_size, sizes.n_positions);
        Ok(InputSpec::Tokens { vocab_size, max_length, pad_id: sizes.pad_token_id.unwrap_or(0) })
    }
}

/// Whether a net without biases lacks this one.
fn has_no_bias(name: &str) -> bool {
    let layers = ["ln_1", "ln_2", "ln_f", "c_attn", "c_proj", "c_fc"];
    name.strip_suffix(".bias").is_some_and(|layer| layers.iter().any(|own| layer.ends_with(own)))
}

fn untied() -> ModelError {
    ModelError::config(
        "lm_head.weight differs from transformer.wte.weight, and kiln's GPT-2 has one for both",
        "give weights whose output layer is tied to the embedding",
    )
}

fn architecture(task: TaskKind) -> &'static str {
    match task {
        TaskKind::CausalLanguageModeling => "GPT2LMHeadModel",
        TaskKind::TokenClassification => "GPT2ForTokenClassification",
        _ => "GPT2ForSequenceClassification",
    }
}

/// The folder whose `config.json` says the sizes; a run's is in its `model/`.
fn pretrained_folder(config: &Gpt2Config) -> Option<PathBuf> {
    let path = config.pretrained.as_ref().filter(|path| path.is_dir())?;
    let model = path.join("model");
    let inside = !path.join(card::FILE).is_file() && model.join(card::FILE).is_file();
    Some(if inside { model } else { path.clone() })
}

fn sizes_of(folder: &Path) -> Result<Sizes, ModelError> {
    let card = Card::read(folder)?;
    match card.model_type.as_str() {
        "gpt2" => card.sizes(),
        other => Err(ModelError::Card {
            path: folder.join(card::FILE),
            message: format!("model_type is {other:?}, expected \"gpt2\" for [model] kind = \"gpt2\""),
            remedy: "give the folder of a GPT-2, or choose the [model] kind that these weights are of".into(),
        }),
    }
}
