//! What is noted while a message is read.

use super::{WireLimits, fault::Fault};
use std::cell::{Cell, RefCell};

/// What is noted while a message is read.
pub(super) struct Reading<'a> {
    limits: &'a WireLimits,
    /// Whether `null` may have been written for an infinite state, which gun.js leaks.
    repaired: bool,
    fields: Cell<usize>,
    /// The first thing that was wrong with the graph.
    fault: RefCell<Option<Fault>>,
    /// It was so wrong that reading ended.
    over: Cell<bool>,
}

impl<'a> Reading<'a> {
    pub(super) const fn new(limits: &'a WireLimits, repaired: bool) -> Self {
        Self {
            limits,
            repaired,
            fields: Cell::new(0),
            fault: RefCell::new(None),
            over: Cell::new(false),
        }
    }

    pub(super) const fn limits(&self) -> &WireLimits {
        self.limits
    }

    pub(super) const fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// What was wrong with the graph.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.borrow_mut().take()
    }

    /// Whether reading ended because of it.
    pub(super) const fn is_over(&self) -> bool {
        self.over.get()
    }

    pub(super) fn note(&self, fault: impl FnOnce() -> Fault) {
        self.fault.borrow_mut().get_or_insert_with(fault);
    }

    pub(super) fn end<E: serde::de::Error>(&self, fault: Fault) -> E {
        *self.fault.borrow_mut() = Some(fault);
        self.over.set(true);
        E::custom("over a limit")
    }

    pub(super) fn count_field<E: serde::de::Error>(&self) -> Result<(), E> {
        let fields = self.fields.get() + 1;
        self.fields.set(fields);
        // Each field stands twice in a node: with its state and with its value.
        if fields > self.limits.max_fields.saturating_mul(2) {
            return Err(self.end(Fault::too_many_fields(self.limits)));
        }
        Ok(())
    }
}
