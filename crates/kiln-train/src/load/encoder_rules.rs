//! Rules of the text encoders in `[model]`: sizes that must be there and fit each other and the data.
//! Owns no key's range (the schema does); part of `load`.

use kiln_models::config::EncoderConfig;

use super::Rules;

impl Rules<'_> {
    pub(super) fn encoder<P>(&mut self, kind: &str, encoder: &EncoderConfig<P>) {
        let sizes = [
            ("hidden_size", encoder.hidden_size),
            ("num_hidden_layers", encoder.num_hidden_layers),
            ("num_attention_heads", encoder.num_attention_heads),
            ("intermediate_size", encoder.intermediate_size),
            ("max_position_embeddings", encoder.max_position_embeddings),
        ];
        let unset: Vec<&str> = sizes.iter().filter(|(_, size)| size.is_none()).map(|(key, _)| *key).collect();
        if encoder.pretrained.is_none() && encoder.preset.is_none() && !unset.is_empty() {
            let message = format!(
                "without `pretrained` or `preset`, kind = \"{kind}\" needs its sizes; not set: {}",
                unset.join(", ")
            );
            self.fault(
                "model",
                message,
                "set pretrained to a Hugging Face folder, or preset, or give all sizes",
            );
        }
        if let (Some(hidden), Some(heads)) = (encoder.hidden_size, encoder.num_attention_heads) {
            let uneven = hidden % heads.max(1) != 0;
            let message =
                format!("`num_attention_heads` is {heads}, which does not divide `hidden_size` {hidden}");
            self.fault_if(
                uneven,
                "model.num_attention_heads",
                message,
                "each head takes an equal share of the width",
            );
        }
        let task = self.config.task.kind();
        let idle = encoder.classifier_dropout.is_some() && task.is_language_modeling();
        let message = format!("`classifier_dropout` does nothing in [task] kind = \"{task}\"");
        self.fault_if(idle, "model.classifier_dropout", message, "leave it out");
        let longest = self.tokenizer_config().map(|tokenizer| tokenizer.max_length);
        if let (Some(positions), Some(longest)) = (encoder.max_position_embeddings, longest) {
            let message = format!("`max_length` is {longest}, more than the model's {positions} positions");
            let remedy = "lower data.tokenizer.max_length, or raise model.max_position_embeddings";
            self.fault_if(longest > positions, "data.tokenizer.max_length", message, remedy);
        }
    }
}
