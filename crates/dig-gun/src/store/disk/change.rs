//! One transaction that writes.

use super::{
    failure::nonsense,
    layout::{self, AGES, FIELDS, META, Record, SOULS},
};
use crate::{
    graph::Node,
    store::{StoreConfig, Usage, config, size},
    value::Soul,
};
use dig_types::Timestamp;
use redb::{Error, ReadableTable, Table, WriteTransaction};
use std::{borrow::Cow, collections::HashSet};

/// Souls looked for at a time when there is no room.
const AT_ONCE: usize = 64;

/// The tables of a transaction, being changed.
pub(super) struct Change<'t> {
    meta: Table<'t, &'static str, u64>,
    souls: Table<'t, &'static [u8], Record>,
    fields: Table<'t, (u64, &'static [u8]), &'static [u8]>,
    ages: Table<'t, (u64, u64), &'static [u8]>,
    next_id: u64,
    usage: Usage,
    /// What the souls written in this transaction are filed under.
    written: HashSet<u64>,
}

/// A soul with its place in the order of age.
struct Aged {
    written: u64,
    id: u64,
    soul: Vec<u8>,
}

impl<'t> Change<'t> {
    /// Begins to change what a transaction sees, an empty file included.
    pub(super) fn begin(transaction: &'t WriteTransaction) -> Result<Self, Error> {
        let meta = transaction.open_table(META)?;
        let number =
            |name| -> Result<u64, Error> { Ok(meta.get(name)?.map_or(0, |number| number.value())) };
        Ok(Self {
            next_id: number(layout::NEXT_ID)?,
            usage: Usage {
                souls: number(layout::SOULS_KEPT)?,
                bytes: number(layout::BYTES_KEPT)?,
            },
            meta,
            souls: transaction.open_table(SOULS)?,
            fields: transaction.open_table(FIELDS)?,
            ages: transaction.open_table(AGES)?,
            written: HashSet::new(),
        })
    }

    /// The layout of the file, 0 if it is new.
    pub(super) fn format(&self) -> Result<u64, Error> {
        Ok(self
            .meta
            .get(layout::FORMAT)?
            .map_or(0, |number| number.value()))
    }

    /// Keeps these fields over whatever was there.
    pub(super) fn keep(&mut self, changes: &[Node], at: Timestamp) -> Result<(), Error> {
        let mut changes: Vec<(Cow<'_, [u8]>, &Node)> = changes
            .iter()
            .filter(|node| !node.fields.is_empty())
            .map(|node| (layout::to_ordered(node.soul.as_str()), node))
            .collect();
        // Neighbours in the file one after the other; a stable sort, for of two changes of a field the later one stays.
        changes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut buffer = Vec::new();
        for same in changes.chunk_by(|(a, _), (b, _)| a == b) {
            if let Some((soul, first)) = same.first() {
                let nodes = same.iter().map(|(_, node)| *node);
                self.keep_one(soul, &first.soul, nodes, at, &mut buffer)?;
            }
        }
        Ok(())
    }

    fn keep_one<'n>(
        &mut self,
        ordered: &[u8],
        soul: &Soul,
        nodes: impl Iterator<Item = &'n Node>,
        at: Timestamp,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let known = self.souls.get(ordered)?.map(|record| record.value());
        let (id, mut written, before) = known.unwrap_or_else(|| {
            self.usage.souls += 1;
            self.next_id += 1;
            (self.next_id, at.as_millis(), 0)
        });
        if known.is_none() {
            self.ages.insert((written, id), ordered)?;
        } else if config::is_newer(Timestamp::from_millis(written), at) {
            self.ages.remove((written, id))?;
            written = at.as_millis();
            self.ages.insert((written, id), ordered)?;
        }
        let mut bytes = known.map_or_else(|| size::of_soul(soul), |_| before);
        for (key, field) in nodes.flat_map(|node| &node.fields) {
            layout::write_field(field, buffer);
            let key = layout::to_ordered(key.as_str());
            let old = self.fields.insert((id, &*key), buffer.as_slice())?;
            let counted = |value: &[u8]| layout::bytes_of_field(key.len(), value.len());
            bytes += counted(buffer);
            bytes = bytes.saturating_sub(old.map_or(0, |old| counted(old.value())));
        }
        let record = (id, written, bytes);
        if known != Some(record) {
            self.souls.insert(ordered, record)?;
        }
        self.written.insert(id);
        self.usage.bytes = (self.usage.bytes + bytes).saturating_sub(before);
        Ok(())
    }

    /// Forgets the oldest souls that this transaction did not write until no bound is exceeded.
    pub(super) fn make_room(&mut self, config: &StoreConfig) -> Result<Vec<Soul>, Error> {
        let mut gone = Vec::new();
        while config.is_exceeded_by(self.usage) {
            let oldest = self.oldest(u64::MAX, AT_ONCE)?;
            if oldest.is_empty() {
                break;
            }
            for aged in oldest {
                if config.is_exceeded_by(self.usage) {
                    gone.push(self.forget(&aged)?);
                }
            }
        }
        Ok(gone)
    }

    /// Forgets at most `budget` souls that were written at `until` or before.
    pub(super) fn expire(&mut self, until: Timestamp, budget: usize) -> Result<Vec<Soul>, Error> {
        let old = self.oldest(until.as_millis(), budget)?;
        old.iter().map(|aged| self.forget(aged)).collect()
    }

    /// The souls written longest ago, but not in this transaction.
    fn oldest(&self, until: u64, most: usize) -> Result<Vec<Aged>, Error> {
        let mut oldest = Vec::new();
        for entry in self.ages.range(..=(until, u64::MAX))? {
            if oldest.len() == most {
                break;
            }
            let (place, soul) = entry?;
            let (written, id) = place.value();
            if !self.written.contains(&id) {
                oldest.push(Aged {
                    written,
                    id,
                    soul: soul.value().to_vec(),
                });
            }
        }
        Ok(oldest)
    }

    fn forget(&mut self, aged: &Aged) -> Result<Soul, Error> {
        let Aged { written, id, soul } = aged;
        self.ages.remove((*written, *id))?;
        let record = self.souls.remove(soul.as_slice())?;
        let (_, _, bytes) = record.ok_or_else(|| nonsense("soul's age"))?.value();
        let none: &[u8] = &[];
        self.fields
            .retain_in((*id, none)..(*id + 1, none), |_, _| false)?;
        self.usage.souls = self.usage.souls.saturating_sub(1);
        self.usage.bytes = self.usage.bytes.saturating_sub(bytes);
        layout::read_soul(soul).ok_or_else(|| nonsense("soul"))
    }

    /// Writes down what is said of the whole, and says how much is kept.
    pub(super) fn finish(mut self) -> Result<Usage, Error> {
        self.meta.insert(layout::FORMAT, layout::THIS_FORMAT)?;
        self.meta.insert(layout::NEXT_ID, self.next_id)?;
        self.meta.insert(layout::SOULS_KEPT, self.usage.souls)?;
        self.meta.insert(layout::BYTES_KEPT, self.usage.bytes)?;
        Ok(self.usage)
    }
}
