//! Rules of the `[model]` table: sizes that must fit each other, and data that the family reads.
//! Owns no key's range (the schema does); part of `load`.

use kiln_data::config::{DataConfig, TokenizerConfig};
use kiln_models::config::{Gpt2Config, ModelConfig};

use super::Rules;

impl Rules<'_> {
    pub(super) fn model(&mut self) {
        match &self.config.model {
            ModelConfig::Mlp(mlp) => self.widths("model.hidden", &mlp.hidden),
            ModelConfig::FtTransformer(_) => {}
            ModelConfig::Textcnn(textcnn) => {
                let none = textcnn.kernel_sizes.is_empty();
                let remedy = "for example: kernel_sizes = [3, 4, 5]";
                self.fault_if(none, "model.kernel_sizes", "`kernel_sizes` is empty", remedy);
                self.widths("model.kernel_sizes", &textcnn.kernel_sizes);
            }
            ModelConfig::Cnn(cnn) => {
                let none = cnn.channels.is_empty();
                self.fault_if(
                    none,
                    "model.channels",
                    "`channels` is empty",
                    "for example: channels = [32, 64]",
                );
                self.widths("model.channels", &cnn.channels);
            }
            ModelConfig::Resnet(c) => self.preset(c.preset.is_some()),
            ModelConfig::Vit(c) => self.preset(c.preset.is_some()),
            ModelConfig::Convnext(c) => self.preset(c.preset.is_some()),
            ModelConfig::MobilenetV2(c) => self.preset(c.preset.is_some()),
            ModelConfig::Bert(c) => self.encoder("bert", c),
            ModelConfig::Roberta(c) => self.encoder("roberta", c),
            ModelConfig::DistilBert(c) => self.encoder("distilbert", c),
            ModelConfig::Gpt2(gpt2) => self.gpt2(gpt2),
        }
        self.input();
    }

    /// Sizes come from a preset or from a folder.
    fn preset(&mut self, given: bool) {
        let nothing = !given && self.config.model.pretrained().is_none();
        let message = "neither `preset` nor `pretrained` says which sizes the model has";
        self.fault_if(nothing, "model", message, "set preset, or pretrained to a folder with a config.json");
    }

    fn widths(&mut self, key: &str, widths: &[usize]) {
        let zero = widths.contains(&0);
        self.fault_if(
            zero,
            key,
            format!("`{key}` must be at least 1, got {widths:?}"),
            "leave out layers of width 0",
        );
    }

    fn gpt2(&mut self, c: &Gpt2Config) {
        let sizes = [("n_layer", c.n_layer), ("n_head", c.n_head), ("n_embd", c.n_embd)];
        let unset: Vec<&str> = sizes.iter().filter(|(_, size)| size.is_none()).map(|(key, _)| *key).collect();
        let nothing = c.pretrained.is_none() && c.preset.is_none() && !unset.is_empty();
        let message = format!(
            "without `pretrained` or `preset`, kind = \"gpt2\" needs its sizes; not set: {}",
            unset.join(", ")
        );
        self.fault_if(nothing, "model", message, "set pretrained, preset, or all sizes");
        if let (Some(width), Some(heads)) = (c.n_embd, c.n_head) {
            let message = format!("`n_head` is {heads}, which does not divide `n_embd` {width}");
            let remedy = "each head takes an equal share of the width";
            self.fault_if(width % heads.max(1) != 0, "model.n_head", message, remedy);
        }
        if let (Some(positions), DataConfig::Text(text)) = (c.n_positions, &self.config.data) {
            let block = text.block_size;
            let message = format!("`block_size` is {block}, more than the model's {positions} positions");
            let remedy = "lower data.block_size, or raise model.n_positions";
            self.fault_if(block > positions, "data.block_size", message, remedy);
        }
    }

    /// Which families read texts, images and rows.
    fn input(&mut self) {
        const TEXT: &[&str] = &["bert", "roberta", "distilbert", "gpt2", "textcnn"];
        // The first source of several, whose form all have.
        let parts = self.config.data.parts();
        let first = parts.first().unwrap_or(&self.config.data);
        let (data, families): (_, &[&str]) = match (first, first.table()) {
            (DataConfig::Text(_), _) => ("plain text", &["gpt2"]),
            (DataConfig::Conll(_), _) => ("text", TEXT),
            (_, Some(table)) if table.text.is_some() || table.tokens.is_some() => ("text", TEXT),
            (_, Some(table)) if table.image.is_none() => ("numbers", &["mlp", "ft_transformer"]),
            _ => ("images", &["resnet", "vit", "convnext", "mobilenet_v2", "cnn", "mlp"]),
        };
        let kind = self.config.model.kind();
        let message = format!("model kind \"{kind}\" does not read {data}, which this data gives");
        let remedy = format!("for {data} choose {}", families.join(", "));
        self.fault_if(!families.contains(&kind), "model.kind", message, remedy);
    }

    /// The tokenizer of texts, where the data is text.
    pub(super) fn tokenizer_config(&self) -> Option<&TokenizerConfig> {
        self.config.data.tokenizer()
    }
}
