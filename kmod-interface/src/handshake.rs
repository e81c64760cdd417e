//! Messages of discovery (TRUST.md): the address pair, the two exclusive names, the offer.

use crate::limits::{MAGIC, VERSION};

/// The address pair of a connection as both ends write it: connecting side first, IPv4 as mapped IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressPair {
    /// Address of the connecting side, network order.
    pub connect_address: [u8; 16],
    /// Address of the accepting side, network order.
    pub accept_address: [u8; 16],
    /// Port of the connecting side.
    pub connect_port: u16,
    /// Port of the accepting side.
    pub accept_port: u16,
}

/// Which end of the pair a name or message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The end that called connect().
    Connecting,
    /// The end that called accept().
    Accepting,
}

/// Size of a pair on the wire.
pub const PAIR_BYTES: usize = 36;
/// Length of an abstract name, without the leading zero byte: `axio1:<36 hex>-<36 hex>:c`.
pub const NAME_BYTES: usize = 6 + 36 + 1 + 36 + 2;

impl AddressPair {
    /// The pair as bytes: addresses, then ports in network order.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; PAIR_BYTES] {
        let mut bytes = [0; PAIR_BYTES];
        bytes[..16].copy_from_slice(&self.connect_address);
        bytes[16..32].copy_from_slice(&self.accept_address);
        bytes[32..34].copy_from_slice(&self.connect_port.to_be_bytes());
        bytes[34..36].copy_from_slice(&self.accept_port.to_be_bytes());
        bytes
    }
    /// The pair that [`Self::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; PAIR_BYTES]) -> AddressPair {
        let mut pair = AddressPair {
            connect_address: [0; 16],
            accept_address: [0; 16],
            connect_port: 0,
            accept_port: 0,
        };
        pair.connect_address.copy_from_slice(&bytes[..16]);
        pair.accept_address.copy_from_slice(&bytes[16..32]);
        pair.connect_port = u16::from_be_bytes([bytes[32], bytes[33]]);
        pair.accept_port = u16::from_be_bytes([bytes[34], bytes[35]]);
        pair
    }
    /// The abstract socket name that `end` holds while it proves itself, without the leading zero byte.
    #[must_use]
    pub fn name(&self, end: End) -> [u8; NAME_BYTES] {
        fn hex(out: &mut [u8], bytes: &[u8]) {
            let digit = |value: u8| match value {
                0..=9 => b'0' + value,
                _ => b'a' + value - 10,
            };
            for ([high, low], byte) in out.as_chunks_mut().0.iter_mut().zip(bytes) {
                *high = digit(byte >> 4);
                *low = digit(byte & 15);
            }
        }
        let mut name = [0; NAME_BYTES];
        name[..6].copy_from_slice(b"axio1:");
        hex(&mut name[6..38], &self.connect_address);
        hex(&mut name[38..42], &self.connect_port.to_be_bytes());
        name[42] = b'-';
        hex(&mut name[43..75], &self.accept_address);
        hex(&mut name[75..79], &self.accept_port.to_be_bytes());
        name[79] = b':';
        name[80] = if matches!(end, End::Connecting) {
            b'c'
        } else {
            b's'
        };
        name
    }
}

/// What the accepting side sends with its two descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Feature bits the accepting side knows.
    pub features: u64,
    /// Cookie of the connecting side's socket, as the accepting side's look saw it.
    pub connect_cookie: u64,
    /// Cookie of the accepting side's socket.
    pub accept_cookie: u64,
    /// Size class of both regions.
    pub class: u32,
    /// Value the connecting side is asked to show.
    pub knock_value: u32,
    /// Slot of the connection that carried the handshake.
    pub slot: u32,
    /// Generation of that slot.
    pub generation: u32,
}

/// Size of an offer on the wire: magic, version, then the fields above.
pub const OFFER_BYTES: usize = 48;

/// Why a received offer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferError {
    /// Not [`OFFER_BYTES`] long.
    Length,
    /// First word is not [`MAGIC`].
    Magic,
    /// Another major version.
    Version,
    /// No such size class, slot or knock value.
    Range,
}

impl Offer {
    /// The offer as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; OFFER_BYTES] {
        let mut bytes = [0; OFFER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.features.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.connect_cookie.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.accept_cookie.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.class.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.knock_value.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.slot.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }

    /// Checks and reads an offer; every field that has a range is checked here, at the door.
    ///
    /// # Errors
    /// The first thing found wrong, in the order of [`OfferError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Offer, OfferError> {
        let bytes: &[u8; OFFER_BYTES] = bytes.try_into().map_err(|_| OfferError::Length)?;
        let (words, _) = bytes.as_chunks();
        let word = |at: usize| {
            words
                .get(at / 4)
                .map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(0) != MAGIC {
            return Err(OfferError::Magic);
        }
        if word(4) >> 16 != VERSION >> 16 {
            return Err(OfferError::Version);
        }
        let offer = Offer {
            features: long(8),
            connect_cookie: long(16),
            accept_cookie: long(24),
            class: word(32),
            knock_value: word(36),
            slot: word(40),
            generation: word(44),
        };
        let Some(layout) = crate::channel_layout::RegionLayout::of_class(offer.class) else {
            return Err(OfferError::Range);
        };
        if offer.slot >= layout.slots
            || offer.generation == 0
            || offer.knock_value >> crate::limits::KNOCK_BITS != 0
        {
            return Err(OfferError::Range);
        }
        Ok(offer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_survives_the_wire_and_each_lie_is_named() {
        let offer = Offer {
            features: 5,
            connect_cookie: 1 << 40,
            accept_cookie: 7,
            class: 1,
            knock_value: 31,
            slot: 127,
            generation: 9,
        };
        let bytes = offer.to_bytes();
        assert_eq!(Offer::from_bytes(&bytes), Ok(offer));
        assert_eq!(Offer::from_bytes(&bytes[..47]), Err(OfferError::Length));
        let lie = |at: usize, value: u8| {
            let mut bytes = bytes;
            bytes[at] = value;
            Offer::from_bytes(&bytes)
        };
        assert_eq!(lie(0, 0), Err(OfferError::Magic));
        assert_eq!(lie(6, 2), Err(OfferError::Version));
        assert_eq!(lie(32, 3), Err(OfferError::Range));
        assert_eq!(lie(36, 32), Err(OfferError::Range));
        assert_eq!(lie(40, 128), Err(OfferError::Range));
        assert_eq!(lie(44, 0), Err(OfferError::Range));
    }

    #[test]
    fn names_of_the_two_ends_differ_in_the_last_letter_only() {
        let pair = AddressPair {
            connect_address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1],
            accept_address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1],
            connect_port: 40000,
            accept_port: 6379,
        };
        let name = pair.name(End::Connecting);
        assert_eq!(
            &name[..],
            b"axio1:00000000000000000000ffff7f0000019c40-00000000000000000000ffff7f00000118eb:c"
        );
        assert_eq!(pair.name(End::Accepting)[..80], name[..80]);
        assert_eq!(AddressPair::from_bytes(&pair.to_bytes()), pair);
    }
}
