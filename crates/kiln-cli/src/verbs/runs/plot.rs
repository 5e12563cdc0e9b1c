//! Curves as text: braille dots for a line, `o` for single points.
//! Owns the drawing; the caller says how wide.

use kiln_train::runs::means;

/// Rows of a plot.
const ROWS: usize = 8;
/// Columns of the numbers at its left.
const LABEL: usize = 10;
/// Bits of a braille character by row and column of its dots.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// A plot of `width` columns, without a newline at its end; `None` where there is no finite number.
pub(super) fn plot(line: &[(u64, f64)], points: &[(u64, f64)], width: usize) -> Option<String> {
    let all = || line.iter().chain(points).filter(|(_, value)| value.is_finite());
    let (first, last) = (all().map(|p| p.0).min()?, all().map(|p| p.0).max()?);
    let columns = width.saturating_sub(LABEL + 1).max(10);
    let (wide, high) = (2 * columns, 4 * ROWS);
    // A line is of means, so its range is theirs: one wild step does not press all others flat.
    let means = means(line, first, last, wide);
    let values = || means.iter().map(|p| p.1).chain(points.iter().map(|p| p.1).filter(|v| v.is_finite()));
    let (low, top) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let x = |step: f64| scaled(step - first as f64, (last - first) as f64, wide);
    let y = |value: f64| high - 1 - scaled(value - low, top - low, high);
    let mut canvas = Canvas { bits: vec![vec![0; columns]; ROWS] };
    let mut before: Option<(usize, usize)> = None;
    for (step, value) in &means {
        let at = (x(*step), y(*value));
        canvas.join(before.unwrap_or(at), at);
        before = Some(at);
    }
    let mut rows: Vec<Vec<char>> = canvas.rows();
    for (step, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        rows[y(*value) / 4][x(*step as f64) / 2] = 'o';
    }
    let label = |row: usize| match row {
        0 => number(top),
        _ if row == ROWS - 1 && top > low => number(low),
        _ => String::new(),
    };
    let mut text = String::new();
    for (k, row) in rows.iter().enumerate() {
        let row: String = row.iter().collect();
        text += format!("{:>LABEL$} {}", label(k), row).trim_end();
        text.push('\n');
    }
    let (from, to) = (format!("step {first}"), last.to_string());
    let gap = columns.saturating_sub(from.len() + to.len());
    Some(if first == last {
        text + &format!("{:>LABEL$} {from}", "")
    } else {
        text + &format!("{:>LABEL$} {from}{:gap$}{to}", "", "")
    })
}

/// `value` of `span` as one of `count` places.
fn scaled(value: f64, span: f64, count: usize) -> usize {
    if span <= 0.0 { 0 } else { ((value / span * (count - 1) as f64).round() as usize).min(count - 1) }
}

fn number(value: f64) -> String {
    match value.abs() {
        x if x != 0.0 && !(1e-3..1e5).contains(&x) => format!("{value:.2e}"),
        _ => format!("{value:.4}"),
    }
}

/// Dots, two by four a character.
struct Canvas {
    bits: Vec<Vec<u32>>,
}

impl Canvas {
    fn dot(&mut self, x: usize, y: usize) {
        self.bits[y / 4][x / 2] |= DOTS[y % 4][x % 2];
    }

    /// A line without gaps from one dot to another on its right.
    fn join(&mut self, (x0, y0): (usize, usize), (x1, y1): (usize, usize)) {
        let between = |x: usize| match x1 - x0 {
            0 => y1,
            span => {
                let share = (x - x0) as f64 / span as f64;
                (y0 as f64 + (y1 as f64 - y0 as f64) * share).round() as usize
            }
        };
        let mut before = y0;
        for x in x0..=x1 {
            let y = between(x);
            (before.min(y)..=before.max(y)).for_each(|y| self.dot(x, y));
            before = y;
        }
    }

    fn rows(&self) -> Vec<Vec<char>> {
        let character = |bits: &u32| match bits {
            0 => ' ',
            bits => char::from_u32(0x2800 + bits).unwrap_or(' '),
        };
        self.bits.iter().map(|row| row.iter().map(character).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_line_goes_from_the_upper_left_to_the_lower_right() {
        let line: Vec<(u64, f64)> = (1..=200).map(|step| (step, 200.0 - step as f64)).collect();
        let text = plot(&line, &[(100, 100.0)], 51).unwrap();
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), ROWS + 1);
        assert!(rows[0].starts_with("  198") && rows[ROWS - 1].starts_with("    0."), "{text}");
        let first = |row: &str| row.chars().skip(LABEL + 1).position(|c| c != ' ').unwrap();
        assert!(rows[..ROWS].windows(2).all(|pair| first(pair[0]) < first(pair[1])), "{text}");
        assert_eq!((text.matches('o').count(), first(rows[0])), (1, 0), "{text}");
        assert!(rows.iter().all(|row| row.chars().count() <= 51), "{text}");
        assert!(rows[ROWS].trim_start().starts_with("step 1 ") && rows[ROWS].ends_with("200"), "{text}");
    }

    #[test]
    fn one_point_equal_points_and_none() {
        assert_eq!(plot(&[], &[], 80), None);
        assert_eq!(plot(&[(1, f64::NAN)], &[], 80), None);
        assert_eq!(plot(&[], &[(3, 0.5)], 80).unwrap().matches('o').count(), 1);
        let flat = plot(&[(1, 2.0), (9, 2.0)], &[], 3).unwrap();
        assert!(flat.contains("2.0000") && flat.contains('\u{28C0}'), "{flat}");
    }
}
