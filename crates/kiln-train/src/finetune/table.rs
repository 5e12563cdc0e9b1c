//! The groups of parameters as a person reads them before the first step.
//! Owns the words and columns; never what is in them (`finetune`).

use kiln_core::net::ParamInfo;

use super::Finetune;
use crate::optim::Rule;

/// One line of the table.
struct Row {
    what: String,
    tensors: usize,
    values: usize,
    rate: String,
    decay: String,
}

/// How many of all values train, and, where groups or rules differ, a line for each: tensors, values, peak learning
/// rate and weight decay.
pub fn table(finetune: &Finetune, rule: &dyn Rule) -> String {
    let parameters = finetune.parameters();
    let mut rows: Vec<Row> = Vec::new();
    let (mut all, mut training) = (0, 0);
    for p in parameters {
        let values: usize = p.shape.iter().product();
        let setting = finetune.settings.get(&p.name).copied().unwrap_or_default();
        let ever = finetune.trains(&p.name, u64::MAX);
        all += values;
        training += if ever { values } else { 0 };
        let base = rule.base_of(p);
        let (rate, decay) = match ever {
            true => {
                let rate = base.learning_rate * setting.rate_scale;
                (format!("{rate:.3e}"), base.decay(p, setting.weight_decay).to_string())
            }
            false => ("-".into(), "-".into()),
        };
        let what = label(finetune, rule, p, ever);
        match rows.iter_mut().find(|r| (&r.what, &r.rate, &r.decay) == (&what, &rate, &decay)) {
            Some(row) => (row.tensors, row.values) = (row.tensors + 1, row.values + values),
            None => rows.push(Row { what, tensors: 1, values, rate, decay }),
        }
    }
    let head = match training == all {
        true => format!("model: {all} parameters, all train"),
        false => format!(
            "model: {all} parameters, {training} train ({:.2} %)",
            100.0 * training as f64 / all.max(1) as f64
        ),
    };
    let one_rule = parameters.iter().all(|p| rule.name_of(p).is_none());
    if finetune.is_plain() && one_rule { head } else { head + "\n" + &lines(&rows) }
}

fn label(finetune: &Finetune, rule: &dyn Rule, p: &ParamInfo, ever: bool) -> String {
    let name = p.name.as_str();
    if !ever {
        return "frozen".into();
    }
    let by = rule.name_of(p);
    if let Some(by) = by.filter(|_| finetune.is_plain()) {
        return by.into();
    }
    let mut what = match (finetune.group(name), &finetune.layers) {
        (Some(group), _) => format!("group {}", group + 1),
        (None, Some(layers)) => format!("layer {} of {}", layers.number(name), layers.top()),
        (None, None) if kiln_models::lora::is_factor(name) => "adapters".into(),
        (None, None) if finetune.lora.is_some() => "saved whole".into(),
        (None, None) => "others".into(),
    };
    match finetune.thaws_at(name) {
        0 => {}
        step => what += &format!(", from step {}", step + 1),
    }
    what + &by.map(|by| format!(" ({by})")).unwrap_or_default()
}

fn lines(rows: &[Row]) -> String {
    let widest = rows.iter().map(|r| r.what.len()).max().unwrap_or(0).max("parameters".len());
    let line = |what: &str, tensors: &str, values: &str, rate: &str, decay: &str| {
        format!("  {what:<widest$}  {tensors:>7}  {values:>11}  {rate:>13}  {decay:>12}")
    };
    let mut all = vec![line("parameters", "tensors", "values", "learning rate", "weight decay")];
    all.extend(
        rows.iter().map(|r| line(&r.what, &r.tensors.to_string(), &r.values.to_string(), &r.rate, &r.decay)),
    );
    all.join("\n")
}

impl Finetune {
    /// Whether every parameter trains at the optimizer's own rate and decay.
    fn is_plain(&self) -> bool {
        let all = self.parameters.iter().all(|p| self.trains(&p.name, 0));
        all && self.groups.is_empty() && self.layers.is_none()
    }
}
