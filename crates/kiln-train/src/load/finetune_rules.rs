//! Rules of `[finetune]` and `[lora]`: patterns that are none, keys that exclude each other.
//! Owns no key's range (the schema does) and no match (only the model has names); part of `load`.

use kiln_core::Every;
use kiln_models::LoraConfig;
use kiln_models::names::Names;

use super::Rules;
use crate::config::FinetuneConfig;

impl Rules<'_> {
    pub(super) fn finetune(&mut self) {
        if let Some(table) = &self.config.finetune {
            self.what_trains(table);
            self.groups(table);
        }
        if let Some(lora) = &self.config.lora {
            self.lora(lora);
        }
    }

    fn what_trains(&mut self, table: &FinetuneConfig) {
        self.patterns("finetune.freeze", &table.freeze);
        self.patterns("finetune.train_only", &table.train_only);
        let both = !table.freeze.is_empty() && !table.train_only.is_empty();
        let message = "both `freeze` and `train_only` are set";
        self.fault_if(
            both,
            "finetune.train_only",
            message,
            "keep one of them: each says what does not train",
        );
        let key = "finetune.unfreeze_every";
        let clock = matches!(table.unfreeze_every, Some(Every::Minutes(_)));
        let message = "`unfreeze_every` is a time: a resumed run would thaw at another step";
        self.fault_if(clock, key, message, "say it in steps or epochs, for example \"1 epoch\"");
        let adapters = table.unfreeze_every.is_some() && self.config.lora.is_some();
        let message = "`unfreeze_every` has nothing to thaw: [lora] keeps the model's own weights frozen";
        self.fault_if(adapters, key, message, "keep one of [lora] and unfreeze_every");
    }

    fn groups(&mut self, table: &FinetuneConfig) {
        for (i, group) in table.groups.iter().enumerate() {
            let key = format!("finetune.groups.{i}");
            let none = group.parameters.is_empty();
            let patterns = format!("{key}.parameters");
            self.fault_if(
                none,
                &patterns,
                "a group without parameters",
                "for example: parameters = [\"classifier.*\"]",
            );
            self.patterns(&patterns, &group.parameters);
            let idle = group.learning_rate.is_none() && group.weight_decay.is_none();
            let message = "a group that changes nothing";
            self.fault_if(idle, &key, message, "give it a learning_rate or a weight_decay");
            let zero = group.learning_rate.is_some() && self.config.optimizer.learning_rate() <= 0.0;
            let message = "a group's `learning_rate` is a multiple of `optimizer.learning_rate`, which is 0";
            self.fault_if(
                zero,
                "optimizer.learning_rate",
                message,
                "set it above 0, and freeze what must not move",
            );
        }
    }

    fn lora(&mut self, lora: &LoraConfig) {
        let empty = lora.target_modules.is_empty();
        let remedy = "for example: target_modules = [\"query\", \"value\"], or [\"all-linear\"]";
        self.fault_if(empty, "lora.target_modules", "`target_modules` is empty", remedy);
        self.patterns("lora.target_modules", &lora.target_modules);
        self.patterns("lora.modules_to_save", lora.modules_to_save.as_deref().unwrap_or_default());
        if lora.pretrained.is_none() {
            return;
        }
        for key in ["rank", "alpha", "use_rslora", "target_modules", "modules_to_save"] {
            let key = format!("lora.{key}");
            let twice = self.resolved.is_set(&key);
            let message = format!("`{key}` is the adapter's own to say: `lora.pretrained` is set");
            self.fault_if(
                twice,
                &key,
                message,
                "leave it out, or start a new adapter without lora.pretrained",
            );
        }
    }

    pub(super) fn patterns(&mut self, key: &str, patterns: &[String]) {
        if let Err(error) = Names::new(key, patterns) {
            self.fault(key, error.to_string(), error.hint().unwrap_or_default());
        }
    }
}
