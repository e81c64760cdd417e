//! The books of a set: which registrations it has, by number and by data.

use crate::readiness::instance::Held;
use crate::readiness::links::{By, Kind};
use crate::readiness::registration::{Registration, flag};
use crate::readiness::{tables, watchers};
use core::ffi::c_int;
use fastpath::family;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;

impl Held {
    /// Takes a new registration into the books. The kernel has it already, with `kernel_events`.
    pub fn record(
        &self,
        stream: &Stream,
        number: c_int,
        events: u32,
        data: u64,
        kernel_events: u32,
    ) -> Option<(u32, &'static Registration)> {
        let endpoint = family::index_of(stream.endpoint)?;
        let (index, registration) = tables::allocate_registration()?;
        registration.instance.set(self.index + 1);
        registration.number.set(number as u32);
        registration.open_number.set(number as u32);
        registration.endpoint.set(endpoint);
        registration.generation.set(stream.generation);
        registration.events.set(events);
        registration.kernel_events.set(kernel_events);
        registration.fork_events.set(0);
        registration.flags.set(flag::FRESH);
        registration.reported_serial.set(0);
        registration.compared_count.set(0);
        registration.data.set(data);
        registration.seen.set(u64::MAX);
        registration.marks.set(0);
        registration.marks_progress.set(0);
        if !watchers::add(self, index, registration) {
            tables::free_registration(index);
            return None;
        }
        let instance = self.instance;
        instance.departed.comes(data);
        instance.all.push(Kind::All, index);
        instance
            .by_number
            .insert(By::Number, u64::from(number as u32), index);
        instance.by_data.insert(By::Data, data, index);
        instance.registrations.fetch_add(1, Ordering::Relaxed);
        Some((index, registration))
    }

    /// Takes a registration out of the books; the kernel's own is the caller's business.
    pub fn drop_record(&self, index: u32, registration: &'static Registration) {
        let instance = self.instance;
        if registration.has(flag::WAS_ACCELERATED) && !registration.has(flag::ACCELERATED) {
            // Spent when the ring ceased to carry, perhaps: the kernel may be telling its end.
            instance.departed.note(registration.data.get());
        }
        self.detach(index, registration);
        instance.ready.remove(Kind::Ready, index);
        instance.all.remove(Kind::All, index);
        instance
            .by_number
            .remove(By::Number, u64::from(registration.number.get()), index);
        instance
            .by_data
            .remove(By::Data, registration.data.get(), index);
        instance.registrations.fetch_sub(1, Ordering::Relaxed);
        watchers::remove(self, index, registration);
        tables::free_registration(index);
    }

    /// The registration of an endpoint under a number.
    #[inline]
    #[must_use]
    pub fn find(&self, endpoint: u32, generation: u32, number: c_int) -> Option<u32> {
        self.instance
            .by_number
            .find(By::Number, u64::from(number as u32), |index, found| {
                (found.number.get() == number as u32
                    && found.endpoint.get() == endpoint
                    && found.generation.get() == generation
                    && !found.has(flag::ZOMBIE))
                .then_some(index)
            })
    }

    /// Gives a registration other data, in the books.
    pub fn set_data(&self, index: u32, registration: &Registration, data: u64) {
        let instance = self.instance;
        if registration.data.get() != data {
            if registration.has(flag::ACCELERATED | flag::WAS_ACCELERATED) {
                instance.departed.note(registration.data.get());
            }
            instance.departed.comes(data);
        }
        let chains = &instance.by_data;
        chains.remove(By::Data, registration.data.get(), index);
        registration.data.set(data);
        registration.clear(flag::DATA_SHARED);
        chains.insert(By::Data, data, index);
    }
}
