//! Trouble that goes on: told when it begins, when it changes and when it is over, however often it is met.
//!
//! Owns no log and no time; whoever tries the same thing again and again keeps one and asks it. Used by the loops of every room.

use std::fmt::Display;

/// What was told last.
#[derive(Debug, Default)]
pub struct Complaint {
    told: Option<String>,
}

impl Complaint {
    /// Notes a failure; whether it is another than the last one, and worth a line in the log.
    pub fn is_news(&mut self, error: &impl Display) -> bool {
        let text = error.to_string();
        let is_news = self.told.as_ref() != Some(&text);
        self.told = Some(text);
        is_news
    }

    /// Notes a success; whether it ends a trouble that was told of.
    pub fn is_over(&mut self) -> bool {
        self.told.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_told_once() {
        let mut complaint = Complaint::default();
        assert!(!complaint.is_over());
        let news: Vec<bool> = ["full", "full", "broken", "full"].map(|text| complaint.is_news(&text)).into();
        assert_eq!(news, [true, false, true, true]);
        assert!(complaint.is_over() && !complaint.is_over());
        assert!(complaint.is_news(&"full"));
    }
}
