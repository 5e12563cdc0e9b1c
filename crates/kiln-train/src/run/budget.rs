//! Budgets of time and tokens, which end a run before its steps are done.
//! Owns when one is used up, and in which words; steps and epochs are the plan's.

use super::Run;

impl Run {
    /// Whether one is used up now.
    pub(super) fn budget_is_up(&self) -> bool {
        self.used_up().is_some()
    }

    /// Why the run ended at its newest step, where a budget ended it.
    pub(super) fn out_of_budget(&self) -> Option<String> {
        self.used_up().filter(|_| self.progress.out_of_time)
    }

    fn used_up(&self) -> Option<String> {
        let train = &self.config.train;
        let minutes = train.max_minutes.filter(|minutes| self.progress.seconds >= 60.0 * minutes);
        let tokens = train.token_budget.filter(|tokens| self.progress.tokens >= *tokens);
        let minutes =
            minutes.map(|minutes| format!("the {minutes} minutes of train.max_minutes are used up"));
        minutes.or(tokens.map(|tokens| format!("the {tokens} tokens of train.token_budget are used up")))
    }
}
