//! Rules of `data.text_transforms`: where they act, their keys, and what they say of classes.
//! Owns no look inside a file; part of `load`.

use kiln_data::config::{DataConfig, Texts, text_faults};

use super::Rules;

impl Rules<'_> {
    pub(super) fn text_transforms(&mut self) {
        let data = &self.config.data;
        let list = data.text_transforms();
        let (texts, words, pair) = match (data, data.table()) {
            (DataConfig::Conll(_), _) => (true, true, false),
            (_, Some(table)) => {
                let words = table.tokens.is_some();
                (table.text.is_some() || words, words, table.text_pair.is_some())
            }
            _ => (false, false, false),
        };
        let message = "`text_transforms` is for a column of text";
        let unused = !texts && !list.is_empty();
        self.fault_if(unused, "data.text_transforms", message, "leave it out, or set data.text");
        let classes = self.sources().classes.as_deref();
        let of = Texts { task: Some(self.config.task.kind()), words, pair, classes };
        for (i, fault) in text_faults(list, &of) {
            let dot = if fault.key.is_empty() { "" } else { "." };
            let key = format!("data.text_transforms.{i}{dot}{}", fault.key);
            self.fault(&key, fault.problem, fault.remedy);
        }
    }
}
