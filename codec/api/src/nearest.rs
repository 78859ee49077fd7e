//! What somebody probably meant.

/// The candidate that is most like `word`, if one is like it at all.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_ascii_lowercase().chars().take(64).collect();
    let scored = candidates.into_iter().map(|candidate| {
        let letters: Vec<char> = candidate.to_ascii_lowercase().chars().collect();
        let distance = if letters.starts_with(&word) { 1 } else { edits(&word, &letters) };
        (distance, candidate)
    });
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + word.len() / 3).then_some(candidate)
}

/// Letters to insert, delete, replace or swap with the next one.
fn edits(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut table = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let differs = usize::from(a[i - 1] != b[j - 1]);
                let mut least = (table[(i - 1) * width + j] + 1)
                    .min(table[i * width + j - 1] + 1)
                    .min(table[(i - 1) * width + j - 1] + differs);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(table[(i - 2) * width + j - 2] + 1);
                }
                least
            };
        }
    }
    table[table.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_nonsense_is_not() {
        let flags = ["path", "replica", "paused", "throttle"];
        assert_eq!(nearest("pahts", flags), Some("path"));
        assert_eq!(nearest("Replicas", flags), Some("replica"));
        assert_eq!(nearest("thr", flags), Some("throttle"));
        assert_eq!(nearest("zzzzzz", flags), None);
        assert_eq!(nearest("x", []), None);
    }
}
