//! Perplexity and entities.

use super::*;

#[derive(Deserialize)]
struct PerplexityCase {
    seed: u32,
    n: usize,
    scale: f64,
    loss: f64,
    perplexity: f64,
}

#[test]
fn perplexity_equals_its_definition() {
    for case in cases::<PerplexityCase>("perplexity") {
        let nll = numbers(case.seed, case.n, 1000, case.scale / 1000.0, case.scale / 2.0);
        let tokens: Vec<_> = draw(case.seed + 50, case.n).into_iter().map(|x| (x % 9 + 1) as u64).collect();
        let add = |all: &mut Perplexity, i: usize| all.add(nll[i].into(), tokens[i]).unwrap();
        for all in ways(case.n, Perplexity::default, add, Perplexity::merge) {
            assert_eq!(all.tokens(), tokens.iter().sum::<u64>());
            assert_same_size(all.loss(), case.loss, ("loss", case.seed));
            assert_close(all.perplexity(), Some(case.perplexity), ("perplexity", case.seed));
        }
    }
}

#[derive(Deserialize)]
struct EntitiesCase {
    seed: u32,
    tags: String,
    count: usize,
    longest: usize,
    agree: usize,
    lenient: EntitiesScores,
    strict: Option<EntitiesScores>,
}

#[derive(Deserialize)]
struct EntitiesScores {
    #[serde(flatten)]
    averages: Averages<Three>,
    types: Vec<String>,
    rows: Vec<[f64; 4]>,
}

/// Sequences of truth and answer.
fn sequences(case: &EntitiesCase, tags: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let pool: Vec<_> = (0..tags).collect();
    let lengths: Vec<_> = draw(case.seed, case.count).into_iter().map(|x| x % case.longest + 1).collect();
    let truth = picks(case.seed + 1, lengths.iter().sum(), &pool);
    let answer = mixed(case.seed + 2, &truth, &pool, case.agree);
    let mut from = 0;
    let cut = |length: usize| {
        from += length;
        (truth[from - length..from].to_vec(), answer[from - length..from].to_vec())
    };
    lengths.into_iter().map(cut).collect()
}

fn assert_entities(all: &Entities, want: &EntitiesScores, seed: u32) {
    let got = all.per_type();
    assert_eq!(got.iter().map(|line| line.0).collect::<Vec<_>>(), want.types, "{seed}");
    for ((_, got), want) in got.into_iter().zip(&want.rows) {
        assert_row(got, *want, ("type", seed));
    }
    for (how, want) in want.averages.each() {
        assert_quality(all.quality(how), want, ("average", seed));
    }
}

#[test]
fn entities_equal_seqeval() {
    let all_tags: BTreeMap<String, Vec<String>> =
        serde_json::from_str::<BTreeMap<String, serde_json::Value>>(include_str!("../fixtures/metrics.json"))
            .map(|all| serde_json::from_value(all["tags"].clone()).unwrap())
            .unwrap();
    let all_cases = cases::<EntitiesCase>("entities");
    assert!(all_cases.iter().filter(|case| case.strict.is_some()).count() > 100);
    for case in all_cases {
        let tags = &all_tags[&case.tags];
        let sequences = sequences(&case, tags.len());
        let add = |all: &mut Entities, i: usize| all.add(&sequences[i].0, &sequences[i].1).unwrap();
        let schemes =
            [(EntityScheme::Lenient, Some(&case.lenient)), (EntityScheme::StrictIob2, case.strict.as_ref())];
        for (scheme, want) in schemes {
            let new = || Entities::new(tags, scheme).unwrap();
            let Some(want) = want else { continue };
            // With prefixes that no scheme knows, seqeval's reading runs on from one sequence into the next.
            let runs_on = tags.iter().any(|tag| !tag.starts_with(['O', 'B', 'I', 'E', 'S']));
            let ways = ways(sequences.len(), new, add, |a, b| a.merge(b).unwrap());
            for all in ways.iter().take(if runs_on { 1 } else { 3 }) {
                assert_entities(all, want, case.seed);
            }
        }
    }
}
