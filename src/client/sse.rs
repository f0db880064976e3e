//! Reading server-sent events (WHATWG HTML, "9.2.6 Interpreting an event stream").
//!
//! Owns the grammar and nothing else: bytes in, events out. Called by `events`.

use std::time::Duration;

/// Most bytes of one event; a stream that sends more without an end is not ours.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its `event` field, `message` when there was none.
    pub(super) kind: String,
    /// Its data lines, joined by line feeds.
    pub(super) data: String,
}

/// An event grew beyond what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
pub(super) struct TooLong;

/// A stream being read; fed with bytes as they arrive.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    began: bool,
    kind: String,
    data: String,
    has_data: bool,
    /// The newest `id` field; it counts once its event is whole.
    id: String,
    last_id: String,
    retry: Option<Duration>,
}

impl Parser {
    /// The id of the last whole event, to resume after; empty when there was none.
    pub(super) fn last_id(&self) -> &str {
        &self.last_id
    }

    /// The pause before reconnecting that the stream asks for.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Takes the next bytes and gives the events that they complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let was_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if was_cr => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    /// Forgets a half-read event: the stream broke off in it.
    pub(super) fn restart(&mut self) {
        let last_id = std::mem::take(&mut self.last_id);
        *self = Parser { id: last_id.clone(), last_id, retry: self.retry, ..Parser::default() };
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = if self.began { &line } else { line.strip_prefix('\u{feff}').unwrap_or(&line) };
        self.began = true;
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis);
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        self.id.clone_into(&mut self.last_id);
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        Some(Event { kind, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str) -> Event {
        Event { kind: kind.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn the_same_events_come_out_however_the_bytes_are_cut() {
        let stream = "\u{feff}: hello\nevent: job\r\nid: 3\ndata: {\"a\":\ndata:1}\n\nid\rdata\r\rretry: 250\nevent: lost\n\n\
                      id: 7\ndata: é\n\n"
            .as_bytes();
        let expected = vec![event("job", "{\"a\":\n1}"), event("message", ""), event("message", "é")];
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let events: Vec<Event> =
                stream.chunks(size).flat_map(|chunk| parser.feed(chunk).unwrap()).collect();
            assert_eq!(events, expected, "in chunks of {size}");
            assert_eq!(parser.last_id(), "7");
            assert_eq!(parser.retry(), Some(Duration::from_millis(250)));
        }
    }

    #[test]
    fn a_broken_off_event_is_forgotten_with_its_id() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(b"id: 4\ndata: a\n\nid: 5\ndata: b").unwrap(), vec![event("message", "a")]);
        parser.restart();
        assert_eq!(parser.last_id(), "4");
        assert_eq!(parser.feed(b"data: c\n\n").unwrap(), vec![event("message", "c")]);
        assert_eq!(parser.last_id(), "4");
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let line = [b'x'; 1024 * 1024];
        assert!((0..5).any(|_| parser.feed(&line).is_err()));
    }
}
