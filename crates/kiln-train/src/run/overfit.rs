//! `train.overfit_batches`: whether the loss of the few batches fell.
//! Owns the comparison of the first pass over them with the last one, by what was logged; trains nothing itself.

use kiln_core::event::Event;

use super::{Run, Session};
use crate::error::TrainError;
use crate::runs::History;

impl Run {
    /// The number of the pass that ended with the step just taken, if one did. Batches that are learned by heart make short
    /// passes: evaluations and saves are those of the whole data all the same.
    pub(super) fn passes(&self, in_pass: usize) -> Option<u64> {
        match self.config.train.overfit_batches {
            None => (self.progress.batch == in_pass).then_some(self.progress.epoch + 1),
            Some(_) => {
                let (step, steps) = (self.progress.step, self.plan.steps_per_epoch);
                step.is_multiple_of(steps).then(|| step / steps)
            }
        }
    }

    /// Tells what became of the loss, where a few batches were learned by heart.
    pub(super) fn say_whether_it_fell(&self, session: &mut Session<'_>) -> Result<(), TrainError> {
        if self.config.train.overfit_batches.is_some() {
            let pass = self.plan.batches_per_epoch.div_ceil(self.plan.accumulation) as u64;
            let history = History::read(&self.dir.metrics())?;
            let said = verdict(&history.losses, pass, self.plan.batches_per_epoch);
            session.tell(&Event::Note(&said));
        }
        Ok(())
    }
}

/// Mean loss of the first and of the last `pass` steps; of single lines where fewer were logged.
fn ends(losses: &[(u64, f64)], pass: u64) -> Option<(f64, f64)> {
    let (first, last) = (losses.first()?.0, losses.last()?.0);
    let mean = |of: &dyn Fn(u64) -> bool| {
        let of: Vec<f64> = losses.iter().filter(|(step, _)| of(*step)).map(|(_, loss)| *loss).collect();
        of.iter().sum::<f64>() / of.len().max(1) as f64
    };
    (first < last)
        .then(|| (mean(&|step| step < first + pass.max(1)), mean(&|step| step + pass.max(1) > last)))
}

fn verdict(losses: &[(u64, f64)], pass: u64, batches: usize) -> String {
    let what = if batches == 1 { "the batch".to_string() } else { format!("the {batches} batches") };
    let Some((first, last)) = ends(losses, pass) else {
        return format!(
            "overfit: the loss of {what} was logged once, which shows nothing; train for more steps"
        );
    };
    let shown = format!("from {first:.4} in the first pass to {last:.4} in the last");
    match last < first {
        true => format!("overfit: the loss of {what} fell {shown}"),
        false => format!(
            "overfit: the loss of {what} did not fall: {shown}; look at the learning rate, the labels and what is frozen"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pass_is_compared_with_the_last() {
        let falls: Vec<(u64, f64)> = (1..=10).map(|step| (step, 10.0 / step as f64)).collect();
        assert_eq!(ends(&falls, 2), Some(((10.0 + 5.0) / 2.0, (1.0 + 10.0 / 9.0) / 2.0)));
        assert!(verdict(&falls, 2, 2).contains("the 2 batches fell from 7.5000 in the first pass to 1.0556"));
        let rises: Vec<(u64, f64)> = falls.iter().map(|(step, loss)| (*step, -loss)).collect();
        assert!(verdict(&rises, 1, 1).contains("the batch did not fall"));
        // A line every ten steps: the first and the last line.
        let sparse = [(10, 3.0), (20, 2.0), (30, 1.0)];
        assert_eq!(ends(&sparse, 1), Some((3.0, 1.0)));
        // A loss that is no number fell nowhere.
        assert!(verdict(&[(1, 1.0), (2, f64::NAN)], 1, 1).contains("did not fall"));
        assert!(verdict(&[(5, 1.0)], 1, 1).contains("shows nothing"));
        assert!(verdict(&[], 1, 1).contains("shows nothing"));
    }
}
