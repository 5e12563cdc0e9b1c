//! Scores as text: a table by class, and the confusion matrix or, of many classes, its worst pairs.
//! Owns the layout; prints nothing.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::scores::{ClassificationReport, Quality, Scores};

/// More classes than this, and the matrix is folded into its most confused pairs.
const WIDEST: usize = 20;

/// The scores as a page of text, without a newline at its end.
pub fn page(scores: &Scores) -> String {
    let mut lines = vec![("samples".to_string(), scores.samples.to_string())];
    lines.push(("loss".into(), format!("{:.4}", scores.loss)));
    lines.extend(scores.metrics.iter().map(|(name, value)| (name.clone(), number(value))));
    let wide = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let head: String = lines.iter().map(|(name, value)| format!("{name:wide$}  {value}\n")).collect();
    match &scores.report {
        Some(report) => format!("{head}\n{}", classification(report)),
        None => head.trim_end().to_string(),
    }
}

/// Whole numbers whole, others with four digits, what is not defined as `-`.
pub fn number(value: &serde_json::Value) -> String {
    match (value.as_u64(), value.as_f64()) {
        (Some(n), _) => n.to_string(),
        (None, Some(x)) => format!("{x:.4}"),
        (None, None) => "-".into(),
    }
}

fn classification(report: &ClassificationReport) -> String {
    let confusion = match report.confusion.len() {
        0 => return classes(report),
        k if k > WIDEST => pairs(report),
        _ => matrix(report),
    };
    format!("{}\n\n{confusion}", classes(report))
}

fn classes(report: &ClassificationReport) -> String {
    let mut table = new(["class", "precision", "recall", "f1", "support"].map(String::from).to_vec());
    let row = |name: &str, q: &Quality, support: u64| {
        let mut cells = vec![name.to_string()];
        cells.extend([q.precision, q.recall, q.f1].map(|x| format!("{x:.4}")));
        cells.push(support.to_string());
        cells
    };
    for line in &report.per_class {
        table.add_row(row(&line.class, &line.quality, line.support));
    }
    let support = report.per_class.iter().map(|line| line.support).sum();
    table.add_row(row("macro avg", &report.macro_avg, support));
    table.add_row(row("weighted avg", &report.weighted_avg, support));
    text(&mut table)
}

fn matrix(scores: &ClassificationReport) -> String {
    let names = scores.per_class.iter().map(|c| c.class.clone());
    let mut table = new(std::iter::once("is \\ answered".to_string()).chain(names).collect());
    for (line, counts) in scores.per_class.iter().zip(&scores.confusion) {
        table.add_row(std::iter::once(line.class.clone()).chain(counts.iter().map(u64::to_string)));
    }
    format!("confusion\n{}", text(&mut table))
}

fn pairs(scores: &ClassificationReport) -> String {
    let k = scores.per_class.len();
    let all = (0..k).flat_map(|is| (0..k).map(move |answered| (is, answered)));
    let mut wrong: Vec<_> = all.filter(|(i, j)| i != j && scores.confusion[*i][*j] > 0).collect();
    wrong.sort_by_key(|(i, j)| std::cmp::Reverse(scores.confusion[*i][*j]));
    let mut table = new(["is", "answered", "count", "of"].map(String::from).to_vec());
    for (i, j) in wrong.iter().take(WIDEST) {
        let (is, answered) = (&scores.per_class[*i], &scores.per_class[*j].class);
        let count = scores.confusion[*i][*j];
        table.add_row([is.class.clone(), answered.clone(), count.to_string(), is.support.to_string()]);
    }
    let shown = wrong.len().min(WIDEST);
    format!("most confused pairs ({shown} of {})\n{}", wrong.len(), text(&mut table))
}

fn new(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

/// Numbers to the right, names to the left.
fn text(table: &mut Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Confusion;

    fn scores(k: usize, answers: &[(usize, usize)]) -> Scores {
        let classes: Vec<_> = (0..k).map(|i| format!("class-{i}")).collect();
        let mut confusion = Confusion::new(k);
        for (truth, answer) in answers {
            confusion.add(*truth, *answer).unwrap();
        }
        let mut metrics = serde_json::Map::new();
        metrics.insert("accuracy".into(), confusion.accuracy().into());
        let report = Some(ClassificationReport::of(&confusion, &classes));
        Scores { samples: confusion.samples(), loss: 0.0, metrics, report }
    }

    #[test]
    fn few_classes_are_shown_whole() {
        let page = page(&scores(2, &[(0, 0), (0, 1), (1, 1), (1, 1)]));
        assert!(page.contains("accuracy  0.7500"), "{page}");
        let row = page.lines().filter(|l| l.trim_start().starts_with("class-0")).nth(1).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["class-0", "1", "1"]);
    }

    #[test]
    fn many_classes_are_folded_into_the_worst_pairs() {
        let page = page(&scores(21, &[(3, 4), (3, 4), (5, 6), (7, 7)]));
        assert!(page.contains("most confused pairs (2 of 2)"), "{page}");
        let row = page.lines().find(|l| l.contains("class-4") && l.contains("class-3")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["class-3", "class-4", "2", "2"]);
        assert!(!page.contains("is \\ answered"));
    }
}
