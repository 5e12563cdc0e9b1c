//! `curves.svg`: loss of training and validation, and the metric that chooses the best, by optimizer step; and the loss over
//! the rates of a sweep. Owns the drawing. A file that any browser opens and that loads nothing.

use std::fmt::Write;

use kiln_core::markup::escaped;

use super::history::{History, means};
use crate::run::{RateCurve, RatePoint};

/// The chart's name in a run folder.
pub const FILE: &str = "curves.svg";

const WIDE: f64 = 720.0;
const HIGH: f64 = 250.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 28.0;
/// Points of a line.
const POINTS: usize = 600;

const STYLE: &str = "svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600}\
    .grid{stroke:#e4e4e4}.line{fill:none;stroke-width:1.5}.s0{stroke:#9ab8d6}.s1{stroke:#c2502e}\
    circle{fill:#c2502e;stroke:none}.best{fill:none;stroke:#222;stroke-width:1.5}";

/// One line of a panel.
struct Line {
    name: &'static str,
    class: &'static str,
    points: Vec<(f64, f64)>,
    marked: bool,
}

/// The horizontal axis.
struct Axis {
    first: f64,
    last: f64,
    /// What a whole number on it is called.
    name: fn(f64) -> String,
}

/// The chart of a sweep of the learning rate, the suggestion marked; `None` without points.
pub fn draw_rates(title: &str, curve: &RateCurve) -> Option<String> {
    let at = |rate: f64| rate.log10();
    let (first, last) = (curve.points.first()?.learning_rate, curve.points.last()?.learning_rate);
    let axis = Axis { first: at(first), last: at(last), name: |power| format!("1e{power:.0}") };
    let of =
        |value: fn(&RatePoint) -> f64| curve.points.iter().map(|p| (at(p.learning_rate), value(p))).collect();
    let line = |name, class, points, marked| Line { name, class, points, marked };
    let best = curve.suggestion.and_then(|rate| curve.points.iter().find(|p| p.learning_rate == rate));
    let marked = best.map(|p| (at(p.learning_rate), p.smoothed)).into_iter().collect();
    let lines = [
        line("loss", "s0", of(|p| p.loss), false),
        line("smoothed", "s1", of(|p| p.smoothed), false),
        line("falls fastest", "s1", marked, true),
    ];
    let svg = opened(title, HIGH)
        + &panel(
            &format!("{title}: loss by learning rate"),
            0.0,
            &axis,
            &lines,
            best.map(|p| at(p.learning_rate)),
        );
    Some(svg + "</svg>\n")
}

fn opened(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDE} {height}\" role=\"img\"><title>{}</title>\
         <style>{STYLE}</style>",
        escaped(title)
    )
}

/// The chart of a run, or `None` where nothing was logged yet. The second panel is of `metric`; where that is the loss,
/// of the first metric that was evaluated.
pub fn draw(title: &str, history: &History, metric: &str) -> Option<String> {
    let validation = history.curve("loss");
    let steps = || history.losses.iter().chain(&validation).map(|(step, _)| *step);
    let (first, last) = (steps().min()?, steps().max()?);
    let line = |name, class, points: &[(u64, f64)], marked| Line {
        name,
        class,
        points: means(points, first, last, POINTS),
        marked,
    };
    let losses =
        [line("training", "s0", &history.losses, false), line("validation", "s1", &validation, true)];
    let second = history.beside_loss(metric).map(|name| {
        let curve = history.curve(&name);
        (name, [line("validation", "s1", &curve, true)])
    });
    let second = second.filter(|(_, [line])| !line.points.is_empty());
    let height = if second.is_some() { 2.0 * HIGH } else { HIGH };
    let mut svg = opened(title, height);
    let axis = Axis { first: first as f64, last: last as f64, name: |step| format!("{step:.0}") };
    let best = history.validation().filter(|e| e.is_best).last().map(|e| e.scored.step as f64);
    svg += &panel(&format!("{title}: loss"), 0.0, &axis, &losses, best);
    if let Some((name, lines)) = &second {
        svg += &panel(&name.replace('_', " "), HIGH, &axis, lines, best);
    }
    Some(svg + "</svg>\n")
}

/// One panel with its axes, its top at `y0`.
fn panel(title: &str, y0: f64, axis: &Axis, lines: &[Line], best: Option<f64>) -> String {
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let (low, high) = if low < high { (low, high) } else { (low - 0.5, low + 0.5) };
    let span = axis.last - axis.first;
    let span = if span > 0.0 { span } else { 1.0 };
    let x = |at: f64| LEFT + (WIDE - LEFT - RIGHT) * (at - axis.first) / span;
    let y = |value: f64| y0 + TOP + (HIGH - TOP - BOTTOM) * (high - value) / (high - low);
    let mut svg = format!("<text class=\"title\" x=\"{LEFT}\" y=\"{}\">{}</text>", y0 + 18.0, escaped(title));
    for value in ticks(low, high) {
        let (at, right) = (y(value), WIDE - RIGHT);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            short(value)
        );
    }
    for at in ticks(axis.first, axis.last).into_iter().filter(|at| at.fract() == 0.0) {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(at),
            y0 + HIGH - 8.0,
            (axis.name)(at)
        );
    }
    for (k, line) in lines.iter().filter(|line| !line.points.is_empty()).enumerate() {
        let Line { name, class, points, marked } = line;
        let at = WIDE - RIGHT - 100.0 * lines.len() as f64 + 100.0 * k as f64;
        let _ = write!(
            svg,
            "<line class=\"line {class}\" x1=\"{at}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
            at + 18.0,
            y0 + 14.0,
            y0 + 14.0,
            at + 24.0,
            y0 + 18.0
        );
        let path: Vec<String> = points.iter().map(|(s, v)| format!("{:.1},{:.1}", x(*s), y(*v))).collect();
        let _ = write!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" "));
        for (at, value) in points.iter().filter(|_| *marked && points.len() <= 100) {
            let (cx, cy, name) = (x(*at), y(*value), (axis.name)(*at));
            let _ = write!(
                svg,
                "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"2.5\"><title>{name}: {value}</title></circle>"
            );
            if best == Some(*at) {
                let _ = write!(svg, "<circle class=\"best\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"6\"/>");
            }
        }
    }
    svg
}

/// Round numbers within a range, about five.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low) / 5.0;
    if raw <= 0.0 || !raw.is_finite() {
        return vec![low];
    }
    let power = 10f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|k| k * power).into_iter().find(|s| *s >= raw * 0.999).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    (first..first + 20).map(|k| k as f64 * step).take_while(|v| *v <= high + step * 1e-9).collect()
}

fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        x if !(1e-3..1e5).contains(&x) => format!("{value:.1e}"),
        _ => format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Scored;
    use crate::runs::Evaluated;

    fn history(steps: u64) -> History {
        let scored = |step: u64| {
            let accuracy = serde_json::Value::from(step as f64 / steps as f64);
            let metrics = [("accuracy".to_string(), accuracy)].into_iter().collect();
            Scored { step, loss: 1.0 / step as f64, metrics }
        };
        let evaluated = |step| Evaluated { split: "validation".into(), scored: scored(step), is_best: true };
        History {
            losses: (1..=steps).map(|step| (step, 2.0 / step as f64)).collect(),
            evaluations: [steps / 2, steps].map(evaluated).into(),
            newest: None,
        }
    }

    #[test]
    fn a_chart_has_every_curve_and_its_best_point() {
        let svg = draw("a <run> & \"more\"", &history(5000), "accuracy").unwrap();
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "a browser opens it by itself");
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(svg.matches("class=\"best\"").count(), 2);
        assert!(
            svg.contains("a &lt;run&gt; &amp; &quot;more&quot;: loss") && svg.contains(">accuracy</text>")
        );
        let points = svg.split("<polyline").nth(1).unwrap().split("points=\"").nth(1).unwrap();
        let points: Vec<(f64, f64)> = points[..points.find('"').unwrap()]
            .split(' ')
            .map(|p| p.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap())
            .collect();
        assert_eq!(points.len(), POINTS, "5,000 steps are thinned");
        assert!(
            points
                .iter()
                .all(|(x, y)| (LEFT..=WIDE - RIGHT).contains(x) && (TOP..=HIGH - BOTTOM).contains(y))
        );
        assert!(points.windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 <= p[1].1), "to the right, and down");
        // Where the loss chooses the best, the second panel is of the first metric.
        assert!(draw("x", &history(10), "loss").unwrap().contains(">accuracy</text>"));
    }

    #[test]
    fn a_sweep_is_drawn_over_the_logarithm_of_its_rates() {
        let point = |i: i32| {
            let smoothed = 2.0 - 0.1 * f64::from(i);
            RatePoint { learning_rate: 10f64.powf(-7.0 + 0.5 * f64::from(i)), loss: smoothed + 0.1, smoothed }
        };
        let points: Vec<RatePoint> = (0..=12).map(point).collect();
        let curve = RateCurve { suggestion: Some(points[6].learning_rate), points };
        let svg = draw_rates("digits", &curve).unwrap();
        for label in [">1e-6<", ">1e-2<", ">falls fastest<", "digits: loss by learning rate"] {
            assert!(svg.contains(label), "{label}: {svg}");
        }
        assert_eq!((svg.matches("<polyline").count(), svg.matches("class=\"best\"").count()), (3, 1));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(draw_rates("x", &RateCurve { points: Vec::new(), suggestion: None }), None);
        let nothing = RateCurve { suggestion: None, ..curve };
        assert_eq!(draw_rates("x", &nothing).unwrap().matches("class=\"best\"").count(), 0);
    }

    #[test]
    fn one_point_is_a_chart_and_none_is_not() {
        let one = History { losses: vec![(1, 2.0)], ..History::default() };
        let svg = draw("x", &one, "accuracy").unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("polyline"), "{svg}");
        assert_eq!(draw("x", &History::default(), "loss"), None);
    }

    #[test]
    fn ticks_are_round_and_within() {
        let near = |low, high, expected: &[f64]| {
            let got = ticks(low, high);
            assert!(
                got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9),
                "{got:?}"
            );
        };
        near(0.0, 1.0, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        near(0.31, 2.4, &[0.5, 1.0, 1.5, 2.0]);
        near(1.0, 410.0, &[100.0, 200.0, 300.0, 400.0]);
        near(3.0, 3.0, &[3.0]);
    }
}
