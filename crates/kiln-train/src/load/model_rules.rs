//! Rules of the `[model]` table: sizes that must fit each other, and data that the family reads.
//! Owns no key's range (the schema does); part of `load`.

use kiln_data::config::{DataConfig, TableData, TokenizerConfig};
use kiln_models::config::ModelConfig;

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

    /// Which families read texts, images and rows.
    fn input(&mut self) {
        const TEXT: &[&str] = &["bert", "roberta", "distilbert", "textcnn"];
        let (data, families): (_, &[&str]) = match (&self.config.data, self.table()) {
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
        match &self.config.data {
            DataConfig::Conll(data) => Some(&data.tokenizer),
            _ => self.table().map(|table| &table.tokenizer),
        }
    }

    pub(super) fn table(&self) -> Option<&TableData> {
        match &self.config.data {
            DataConfig::Csv(table) | DataConfig::Tsv(table) | DataConfig::Jsonl(table) => Some(table),
            DataConfig::ImageFolder(_) | DataConfig::Idx(_) | DataConfig::Conll(_) => None,
        }
    }
}
